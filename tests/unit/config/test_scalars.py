from __future__ import annotations

import pytest

from gateway.config.scalars import Substituted, resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-17", -17),
        ("0o17", 15),
        ("0xff", 255),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("12.", 12.0),
    ],
)
def test_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    ["yes", "no", "on", "off", "1:30", "2026-10-23", "1_000", ".inf", ".nan", "1e999", "9" * 5000, "0b1"],
)
def test_what_older_yaml_would_make_something_of_is_text(text: str) -> None:
    assert resolve(text) == text


def test_text_from_the_environment_resolves_to_plain_values() -> None:
    assert type(resolve(Substituted("on", plain=True))) is str
    assert resolve(Substituted("8080")) == 8080
