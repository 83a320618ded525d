from pathlib import Path

from gateway.control.openapi import render

FILE = Path(__file__).parents[3] / "docs" / "openapi" / "control.json"


def test_the_description_of_the_api_is_current() -> None:
    assert FILE.read_text() == render(), "run: python -m gateway.control.openapi > docs/openapi/control.json"
