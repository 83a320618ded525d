"""docs/errors.md says what the gateway answers."""

from __future__ import annotations

import re

import pytest

from gateway.domain import errors
from gateway.edge import render
from gateway.edge.render import error_event, render_unexpected
from tests.unit.docs.pages import BY_NAME

PAGE = BY_NAME["docs/errors.md"]
ROWS = PAGE.table("status")
BY_ERROR = {row["error"].strip("`"): row for row in ROWS}


def _bare(cell: str) -> str | None:
    return None if cell == "null" else cell.strip("`")


@pytest.mark.parametrize("error", render._TABLE, ids=lambda error: error.__name__)
def test_every_error_has_its_row(error: type[errors.GatewayError]) -> None:
    row, documented = render._TABLE[error], BY_ERROR[error.__name__]
    assert documented["status"] == str(row.status)
    assert _bare(documented["`type`"]) == row.type
    assert _bare(documented["`code`"]) == row.code


def test_a_row_of_an_error_that_is_not_there_says_so() -> None:
    for name, row in BY_ERROR.items():
        if name != "-" and not hasattr(errors, name):
            assert "not available in this version" in row["when"], name


def test_a_bug_has_its_row() -> None:
    reply, row = render_unexpected(), BY_ERROR["-"]
    told = (row["status"], _bare(row["`type`"]), _bare(row["`code`"]))
    assert told == (str(reply.status), reply.body["type"], reply.body["code"])


def test_every_class_of_failure_is_explained() -> None:
    assert {row["class"].strip("`") for row in PAGE.table("class")} == set(errors.FailureClass)


def test_every_code_of_a_broken_stream_is_explained() -> None:
    raised = {
        code
        for path in (BY_NAME["README.md"].path.parent / "gateway").rglob("*.py")
        for code in re.findall(r'StreamBroken\(\s*"(\w+)"', path.read_text("utf-8"))
    } - {"client_left"}  # nobody is there to read it
    assert {row["`code`"].strip("`") for row in PAGE.table("`code`")} == raised
    for code in raised:
        assert b'"type":"server_error"' in error_event(code, "text")


def test_each_503_and_rate_limit_says_when_to_come_back() -> None:
    assert "go with every 503 and with `rate_limit_exceeded`" in PAGE.sentences
    for error in (
        errors.Draining("text"),
        errors.Overloaded("text"),
        errors.StoreUnavailable("text"),
        errors.NoUpstream("text"),
        errors.PriceUnknown("text"),
        errors.RateLimited("text", "requests", 1.0),
        errors.AllRateLimited("text", 1.0),
        errors.BudgetSpent("text"),
        errors.UpstreamTimedOut("text"),
        errors.UpstreamsFailed("text"),
        errors.BadKey("text"),
    ):
        reply = render.render(error)
        says_when = {b"retry-after", b"retry-after-ms"} <= {name for name, _ in reply.headers}
        assert says_when is (reply.status == 503 or reply.error_type == "rate_limit_exceeded")


def test_what_never_fits_says_so() -> None:
    for error in (errors.RateLimited("text", "tokens", None), errors.BudgetSpent("text")):
        assert render.render(error).headers == ((b"x-should-retry", b"false"),)
