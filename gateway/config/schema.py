"""`config/gateway.schema.json`, for editors that check YAML while it is written."""

from __future__ import annotations

import json
from typing import Any

from gateway.config.models import Settings

_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
}  # pydantic's words where a validator reads first
_VARIABLE = {"$ref": "#/$defs/Variable"}


def render() -> str:
    """The schema's text.

    It knows shapes, not references: an unknown upstream is for `tunegate check-config` to find. Where a
    number, a flag or one of a few words is wanted, text with a `${VAR}` passes too.
    """
    schema = _adapt(Settings.model_json_schema(mode="validation"))
    schema["$defs"]["Variable"] = {
        "type": "string",
        "pattern": r"\$\{",
        "description": "${VAR} or ${VAR:-default}",
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Tunegate configuration"}
    return json.dumps({**head, **schema}, indent=2, ensure_ascii=False) + "\n"


def _adapt(schema: Any) -> Any:
    """Drop generated titles, write bounds as JSON Schema does, let variables stand for strict values."""
    if isinstance(schema, list):
        return [_adapt(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for name, value in schema.items():
        key = str(name)
        if key in {"properties", "$defs"}:  # names, not keywords
            made[key] = {field: _adapt(each) for field, each in value.items()}
        elif key in {"default", "enum", "const"}:  # values, not schemas
            made[key] = value
        elif key != "title":
            made[_BOUNDS.get(key, key)] = _adapt(value)
    if made.get("type") in {"integer", "number", "boolean"} or "enum" in made or "const" in made:
        outer = {key: made.pop(key) for key in ("description", "default") if key in made}
        return {**outer, "anyOf": [made, _VARIABLE]}
    return made
