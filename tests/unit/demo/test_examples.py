import json
from typing import Any

import jsonschema
import pytest

from gateway.demo.errors import ApiError
from gateway.demo.examples import example, example_json

SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"]},
    {"type": "array", "items": {"type": "number", "maximum": 0.5}, "minItems": 2},
    {"type": ["null", "string"], "minLength": 40},
    {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    {"allOf": [{"type": "object"}, {"properties": {"x": {"const": 4}}, "required": ["x"]}]},
    {"$defs": {"size": {"enum": ["s", "m"]}}, "properties": {"size": {"$ref": "#/$defs/size"}}},
    {"type": "string", "format": "date"},
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_an_example_fits_its_schema(schema: dict[str, Any]) -> None:
    jsonschema.validate(example(schema, "no names in here"), schema)


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    assert "next" in example(schema, "")


def test_names_numbers_and_choices_come_from_the_text() -> None:
    schema = {
        "properties": {
            "who": {"type": "string"},
            "title": {"type": "string"},
            "count": {"type": "integer"},
            "colour": {"enum": ["green", "red"]},
            "more": {"type": "string"},
        }
    }
    assert example(schema, 'Send Grace Hopper 12 red copies of "the manual"') == {
        "who": "Grace Hopper",
        "title": "the manual",
        "count": 12,
        "colour": "red",
        "more": "simulated",
    }


def test_a_broken_schema_is_the_callers_mistake() -> None:
    with pytest.raises(ApiError) as refused:
        example_json({"type": "object", "properties": 7}, "")
    assert refused.value.status == 400


def test_examples_are_compact_json() -> None:
    text = example_json({"properties": {"a": {"type": "string"}, "b": {"type": "boolean"}}}, "in Zürich")
    assert text == '{"a":"Zürich","b":true}'
    json.loads(text)
