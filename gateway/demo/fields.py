"""Reads the fields of a request body, and refuses in the official words what has the wrong type or range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.demo.errors import ApiError

_NAMES: dict[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def wrong_type(param: str, expected: str, value: Any) -> ApiError:
    """400 `invalid_type`: `expected` names the type with its article."""
    actual = _NAMES.get(type(value), "something else")
    return ApiError(
        400,
        f"Invalid type for '{param}': expected {expected}, but got {actual} instead.",
        param=param,
        code="invalid_type",
    )


def wrong_value(param: str, value: Any, supported: Sequence[str]) -> ApiError:
    """400 `invalid_value`: the value is none of the `supported` ones."""
    known = " and ".join(f"'{name}'" for name in supported)
    return ApiError(
        400,
        f"Invalid value: '{value}'. Supported values are: {known}.",
        param=param,
        code="invalid_value",
    )


def missing(param: str) -> ApiError:
    """400 `missing_required_parameter`."""
    return ApiError(
        400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
    )


class Fields:
    """A JSON object seen through typed getters. An absent field and `null` both give the default."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def __getitem__(self, name: str) -> Any:
        return self._body.get(name)

    def required(self, name: str) -> Any:
        """The field's value, of any type but null."""
        if self._body.get(name) is None:
            raise missing(name)
        return self._body[name]

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A boolean."""
        value = self._body.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise wrong_type(name, "a boolean", value)
        return value

    def integer(self, name: str, low: int, high: int) -> int | None:
        """An integer in [low, high], or None where the field is absent."""
        value = self._body.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(name, "an integer", value)
        if value < low:
            raise self._out_of_range(
                name, value, f"below minimum value. Expected a value >= {low}", "below_min"
            )
        if value > high:
            raise self._out_of_range(
                name, value, f"above maximum value. Expected a value <= {high}", "above_max"
            )
        return value

    def number(self, name: str, low: float, high: float) -> None:
        """Check that the field, if given, is a number in [low, high]: nothing here depends on its value."""
        value = self._body.get(name)
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(name, "a decimal", value)
        if not low <= value <= high:
            bound = f"below minimum value. Expected a value >= {low:g}"
            if value > high:
                bound = f"above maximum value. Expected a value <= {high:g}"
            raise ApiError(
                400,
                f"Invalid '{name}': decimal {bound}, but got {value:g} instead.",
                param=name,
                code="decimal_below_min_value" if value < low else "decimal_above_max_value",
            )

    def mapping(self, name: str) -> Mapping[str, Any] | None:
        """A JSON object, or None where the field is absent."""
        value = self._body.get(name)
        if value is not None and not isinstance(value, dict):
            raise wrong_type(name, "an object", value)
        return value

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        """A string or a list of at most `most` strings, as a tuple; empty where the field is absent."""
        value = self._body.get(name)
        if value is None:
            return ()
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise wrong_type(name, "a string or an array of strings", value)
        if len(value) > most:
            raise ApiError(
                400,
                f"Invalid '{name}': array too long. Expected an array with maximum length {most}, "
                f"but got an array with length {len(value)} instead.",
                param=name,
                code="array_above_max_length",
            )
        return tuple(value)

    @staticmethod
    def _out_of_range(name: str, value: int, what: str, code: str) -> ApiError:
        return ApiError(
            400,
            f"Invalid '{name}': integer {what}, but got {value} instead.",
            param=name,
            code=f"integer_{code}_value",
        )
