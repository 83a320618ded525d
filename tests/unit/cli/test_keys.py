"""The options of `tunegate keys` as fields of the API, and its answers as people read them."""

import json
from functools import partial
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner, Result

from gateway.cli import admin_client
from gateway.cli.admin_client import AdminClient
from gateway.cli.main import tunegate

KEY: dict[str, Any] = {
    "object": "key",
    "id": "00aaaaaaaaaa",
    "limits": {"rpm": 5, "tpm": None},
    "effective_limits": {"rpm": 5, "tpm": None, "concurrency": 100},
    "budget": None,
    "credit_usd": None,
    "credit_nanousd": None,
    "max_output_tokens": None,
}


class Sent:
    """A control plane that keeps what it was sent and answers always the same."""

    def __init__(self) -> None:
        self.answer = KEY
        self.requests: list[tuple[str, str, Any]] = []

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append((request.method, request.url.path, json.loads(request.content)))
        return httpx2.Response(200, json=self.answer)

    @property
    def body(self) -> Any:
        """Of the only request."""
        ((_, _, body),) = self.requests
        return body


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    sent = Sent()
    transport = httpx2.MockTransport(sent.handle)
    monkeypatch.setattr(admin_client, "AdminClient", partial(AdminClient, transport=transport))
    return sent


def run(*arguments: str) -> Result:
    return CliRunner(env={"TUNEGATE_ADMIN_KEY": "k"}).invoke(tunegate, ["keys", *arguments])


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ("", {}),
        ("--rpm 60", {"limits": {"rpm": 60}}),
        ("--rpm 0 --tpm unlimited", {"limits": {"rpm": 0, "tpm": None}}),
        ("--concurrency default", {"limits": {"concurrency": "default"}}),
        ("--budget 5 --period day", {"budget": {"usd": "5", "period": "day"}}),
        ("--credit 0.000000001", {"credit_usd": "0.000000001"}),
        ("--max-output-tokens 7", {"max_output_tokens": 7}),
    ],
)
def test_options_are_fields(sent: Sent, options: str, fields: dict[str, Any]) -> None:
    assert run("create", "x", *options.split()).exit_code == 0
    assert sent.body == {"name": "x", **fields}
    if fields:
        assert run("update", "00aaaaaaaaaa", *options.split()).exit_code == 0
        assert sent.requests[1] == ("PATCH", "/admin/v1/keys/00aaaaaaaaaa", fields)


def test_restrictions_are_lifted(sent: Sent) -> None:
    names = ("budget", "credit", "max_output_tokens", "team")
    result = run("update", "x", *(word for name in names for word in ("--unrestrict", name)))
    assert result.exit_code == 0
    assert sent.body == dict.fromkeys(("budget", "credit_usd", "max_output_tokens", "team"))


@pytest.mark.parametrize("usd", ["5", "0.5", "-5", "-0.5"])
def test_credit_is_an_amount_of_either_sign(sent: Sent, usd: str) -> None:
    sent.answer = {
        "object": "key.credit",
        "id": "x",
        "granted_usd": usd,
        "granted_nanousd": 1,
        "remaining_usd": "7",
        "remaining_nanousd": 7,
        "note": "why",
    }
    result = run("credit", "x", usd, "--note", "why")
    assert sent.requests == [("POST", "/admin/v1/keys/x/credit", {"usd": usd, "note": "why"})]
    assert result.stdout.splitlines() == [
        *("id: x", f"granted_usd: {usd}", "remaining_usd: 7", "note: why"),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        "create x --rpm many",
        "create x --rpm -1",
        "create x --rpm 1.5",
        "create x --budget 5",
        "create x --period day",
        "create x --budget 5 --period week",
        "create x --max-output-tokens 0",
        "update x --unrestrict credits",
        "credit x",
        "credit x 5 --nota why",
    ],
)
def test_what_cannot_be_meant_is_refused_here(sent: Sent, arguments: str) -> None:
    assert run(*arguments.split()).exit_code == 2
    assert sent.requests == []


def test_a_key_says_what_holds_for_it(sent: Sent) -> None:
    assert run("create", "x").stdout.splitlines() == [
        "id: 00aaaaaaaaaa",
        "rpm: 5",
        "tpm: unlimited",
        "concurrency: 100 (default)",
        "budget: -",
        "credit_usd: -",
        "max_output_tokens: -",
    ]


@pytest.mark.parametrize(
    ("period", "words"), [("day", "5 USD a day"), ("month", "5 USD a month"), ("total", "5 USD in total")]
)
def test_a_budget_says_its_period(sent: Sent, period: str, words: str) -> None:
    sent.answer = {**KEY, "budget": {"usd": "5", "nanousd": 5, "period": period}}
    assert f"budget: {words}" in run("create", "x").stdout.splitlines()


def test_json_is_as_the_gateway_says_it(sent: Sent) -> None:
    assert json.loads(run("create", "x", "--json").stdout) == KEY
