"""The page on the cache is held to the tables and figures of the code."""

from gateway.cache import publisher
from gateway.cache.canonical import _MOST_DIGITS, IGNORED
from gateway.cache.flight import LEAST_KEPT_BYTES
from gateway.cache.rules import NORMAL_FINISHES, STATEFUL
from tests.unit.docs.pages import ROOT, Page

PAGE = Page(ROOT / "docs" / "caching.md")


def fields_and_reasons() -> list[dict[str, str]]:
    """The two tables of fields: of those that do not count, and of those that keep a call away."""
    found = []
    for table in PAGE.text.split("| field | why |\n|---|---|\n")[1:]:
        rows = [line.strip("|").split("|") for line in table.split("\n\n")[0].splitlines()]
        found.append({field.strip(" `"): why.strip() for field, why in rows})
    return found


def test_every_field_is_there_with_its_reason() -> None:
    assert fields_and_reasons() == [dict(IGNORED), dict(STATEFUL)]


def test_the_words() -> None:
    words = {row["`x-tunegate-cache`"].strip("`") for row in PAGE.table("`x-tunegate-cache`")}

    assert words == {"hit", "shared", "miss", "bypass"}
    for reason in NORMAL_FINISHES:
        assert f"`{reason}`" in PAGE.text


def test_the_figures() -> None:
    assert f"noticed within {publisher.LEASE_MS // 1000} seconds" in PAGE.sentences
    assert f"lags more than {LEAST_KEPT_BYTES >> 20} MiB" in PAGE.sentences
    assert f"over {_MOST_DIGITS} digits" in PAGE.sentences
