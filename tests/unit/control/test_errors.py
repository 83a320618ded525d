from typing import Any

import pytest

from gateway.control.errors import describe_invalid

JSON = "application/json"
BODY = {"name": "x", "limits": {"rps": 1}, "models": "all", "aliases": ["", 5], "training": "x"}


@pytest.mark.parametrize(
    ("problem", "content_type", "expected"),
    [
        (
            {"type": "extra_forbidden", "loc": ("body", "limits", "rps"), "msg": "Extra inputs"},
            JSON,
            ("Unknown field `limits.rps`.", "limits.rps"),
        ),
        ({"type": "missing", "loc": ("body", "usd"), "msg": "x"}, JSON, ("`usd` is required.", "usd")),
        (
            {"type": "string_too_long", "loc": ("body", "name"), "msg": "String should have at most 200"},
            JSON,
            ("`name`: string should have at most 200.", "name"),
        ),
        (
            {"type": "int", "loc": ("body", "aliases", "list[x]", 1), "msg": "Input should be text"},
            JSON,
            ("`aliases.1`: should be text.", "aliases.1"),
        ),
        (
            {"type": "value_error", "loc": ("query", "limit"), "msg": "Value error, no"},
            None,
            ("`limit`: no.", "limit"),
        ),
        (
            {"type": "missing", "loc": ("body",), "msg": "Field required"},
            None,
            ("The body is missing: a JSON object is needed.", None),
        ),
        (
            {"type": "model_attributes_type", "loc": ("body",), "msg": "x"},
            "application/x-www-form-urlencoded",
            ("Send the body as JSON, with the header content-type: application/json.", None),
        ),
        (
            {"type": "model_attributes_type", "loc": ("body",), "msg": "x"},
            JSON,
            ("The body must be a JSON object.", None),
        ),
        (
            {"type": "json_invalid", "loc": ("body", 3), "msg": "x", "ctx": {"error": "Expecting value"}},
            JSON,
            ("The body is not valid JSON: Expecting value at character 3.", None),
        ),
    ],
)
def test_what_the_framework_found_is_told_in_words(
    problem: dict[str, object], content_type: str | None, expected: tuple[str, str | None]
) -> None:
    assert describe_invalid([problem], BODY, content_type) == expected


def test_a_value_that_fits_no_branch_is_told_all_of_them() -> None:
    problems: list[dict[str, Any]] = [
        {"type": "list_type", "loc": ("body", "models", "list[x]"), "msg": "Input should be a valid list"},
        {"type": "literal", "loc": ("body", "models", "literal[y]"), "msg": "Input should be 'y'"},
        {"type": "bool_type", "loc": ("body", "training", "bool"), "msg": "Input should be a flag"},
    ]
    expected = ("`models`: should be a valid list, or should be 'y'.", "models")
    assert describe_invalid(problems, BODY, JSON) == expected
