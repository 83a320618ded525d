"""Plausible JSON for a JSON schema: arguments of simulated tool calls, bodies of structured replies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain, repeat
from typing import Any

from gateway.demo.errors import ApiError

_MOST_DEPTH = 12
_FORMATS = {
    "date": "2030-01-31",
    "date-time": "2030-01-31T09:30:00Z",
    "time": "09:30:00Z",
    "email": "someone@example.com",
    "hostname": "www.example.com",
    "ipv4": "192.0.2.1",
    "uri": "https://www.example.com/",
    "uuid": "6f1c0c1e-3a52-4e0b-9d0e-2b8a5f0e7c11",
}
_NAMES = re.compile(r"[\"']([^\"']{2,})[\"']|(?<=[\w,;:] )([A-Z][\w-]+(?: [A-Z][\w-]+)*)")
_NUMBERS = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?")


def example(schema: Any, text: str) -> Any:
    """A value that fits the schema, with names and numbers taken from the text where it has any."""
    return _Guesser(schema, text).value(schema, 0)


def example_json(schema: Any, text: str) -> str:
    """The same as compact JSON. Raises 400 for what is no JSON schema."""
    try:
        value = example(schema, text)
    except (AttributeError, TypeError, ValueError) as error:
        raise ApiError(400, f"Invalid schema: {error}", code="invalid_function_parameters") from error
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class _Guesser:
    def __init__(self, root: Any, text: str) -> None:
        names = [quoted or capital for quoted, capital in _NAMES.findall(text)]
        self._root = root
        self._text = text.lower()
        self._names: Iterator[str] = chain(names, repeat("simulated"))
        self._numbers: Iterator[float] = chain(map(float, _NUMBERS.findall(text)), repeat(1.0))

    def value(self, schema: Any, depth: int) -> Any:
        schema = self._resolve(schema)
        if depth > _MOST_DEPTH or not schema:
            return None
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            named = (item for item in schema["enum"] if str(item).lower() in self._text)
            return next(named, schema["enum"][0])
        for union in ("anyOf", "oneOf"):
            options = [
                option for option in schema.get(union, ()) if self._resolve(option).get("type") != "null"
            ]
            if options:
                return self.value(options[0], depth + 1)
        if schema.get("allOf"):
            merged = {key: value for part in schema["allOf"] for key, value in self._resolve(part).items()}
            return self.value(merged, depth + 1)
        return self._typed(schema, depth)

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = next((item for item in kind if item != "null"), "null")
        match kind:
            case "object":
                properties = schema.get("properties") or {}
                wanted = schema.get("required", list(properties))
                return {
                    name: self.value(properties[name], depth + 1) for name in properties if name in wanted
                }
            case "array":
                least = max(1, int(schema.get("minItems", 1)))
                return [self.value(schema.get("items", {}), depth + 1) for _ in range(least)]
            case "integer" | "number":
                return self._number(schema, whole=kind == "integer")
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._string(schema)

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> float:
        number = next(self._numbers)
        number = max(number, schema.get("minimum", number))
        number = min(number, schema.get("maximum", number))
        return int(number) if whole else number

    def _string(self, schema: Mapping[str, Any]) -> str:
        text = _FORMATS.get(schema.get("format", "")) or next(self._names)
        return text.ljust(int(schema.get("minLength", 0)), ".")[: schema.get("maxLength")]

    def _resolve(self, schema: Any) -> Mapping[str, Any]:
        """Follow `#/...` references; what is not a schema reads as an empty one."""
        for _ in range(_MOST_DEPTH):
            if not isinstance(schema, Mapping) or not str(schema.get("$ref", "")).startswith("#"):
                break
            target: Any = self._root
            for part in schema["$ref"].removeprefix("#").strip("/").split("/"):
                if part:
                    target = target.get(part, {}) if isinstance(target, Mapping) else {}
            schema = target
        return schema if isinstance(schema, Mapping) else {}
