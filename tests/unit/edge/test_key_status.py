"""The shape of `GET /v1/key`; `tests/integration/dataplane/test_key_status.py` has it on a real store."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from gateway.domain.errors import StoreUnavailable
from gateway.domain.principal import Principal
from gateway.edge.key_status import KeyStatus
from gateway.limits.values import AccountView, Bounds, UsageFigures, Window
from gateway.store.errors import StoreAway, StoreError, StoreReplyError
from tests.unit.docs.pages import ROOT

COMPONENTS = json.loads((ROOT / "docs/openapi/data.json").read_text("utf-8"))["components"]
DEFAULT = Bounds(rpm=600, tpm=1000, concurrency=100)
KEY = "07aaaaaaaaaa"
NANO = 10**9


class Accounts:
    """Knows one account, or fails."""

    def __init__(self, view: AccountView | StoreError) -> None:
        self._view = view
        self.asked: list[tuple[str, Bounds]] = []

    async def account(self, key_id: str, bounds: Bounds) -> AccountView:
        self.asked.append((key_id, bounds))
        if isinstance(self._view, StoreError):
            raise self._view
        return self._view


def view(**fields: Any) -> AccountView:
    unused = {
        "at_ms": 0,
        "rpm": None,
        "tpm": None,
        "in_use": 0,
        "day": UsageFigures(),
        "month": UsageFigures(),
        "total_cost_nanousd": 0,
        "held_nanousd": {"day": 0, "month": 0, "total": 0},
        "granted_nanousd": None,
        "credit_nanousd": None,
    }
    return AccountView(**{**unused, **fields})


async def shown(account: AccountView | StoreError, **principal: Any) -> dict[str, Any]:
    snapshots: Any = SimpleNamespace(current=SimpleNamespace(default_bounds=DEFAULT))
    body = await KeyStatus(Accounts(account), snapshots).show(Principal(KEY, "x", **principal))
    answer: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    Draft202012Validator({"$ref": "#/components/schemas/Key", "components": COMPONENTS}).validate(answer)
    return answer


async def test_a_key_without_anything() -> None:
    nothing = {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost_usd": "0"}
    assert await shown(view()) == {
        "object": "key",
        "id": KEY,
        "name": "x",
        "status": "active",
        "aliases": None,
        "models": None,
        "routes": None,
        "expires_at": None,
        "limits": {"rpm": None, "tpm": None, "concurrency": {"limit": 100, "in_use": 0}},
        "budget": None,
        "credit": None,
        "usage": {"today": nothing, "month": nothing},
    }


async def test_restrictions() -> None:
    key = await shown(
        view(),
        aliases=frozenset({"b", "a"}),
        models=("m*", "n"),
        routes=frozenset({"models", "embeddings"}),
        expires_at=4102444800,
    )
    assert (key["aliases"], key["models"]) == (["a", "b"], ["m*", "n"])
    assert (key["routes"], key["expires_at"]) == (["embeddings", "models"], 4102444800)
    assert (await shown(view(), models="aliases-only"))["models"] == "aliases-only"


async def test_limits_are_those_of_the_key_else_the_default() -> None:
    accounts = Accounts(view(rpm=Window(5, 3, 1234), tpm=Window(0, 0, 0), in_use=7))
    snapshots: Any = SimpleNamespace(current=SimpleNamespace(default_bounds=DEFAULT))
    body = await KeyStatus(accounts, snapshots).show(
        Principal(KEY, "x", limits={"rpm": 5, "concurrency": None})
    )
    assert accounts.asked == [(KEY, Bounds(rpm=5, tpm=1000, concurrency=None))]
    assert body["limits"] == {
        "rpm": {"limit": 5, "remaining": 3, "reset_s": 1.234},
        "tpm": {"limit": 0, "remaining": 0, "reset_s": 0},
        "concurrency": None,
    }


USED = {
    "at_ms": int(datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC).timestamp() * 1000) + 999,
    "day": UsageFigures(1, 2, 3, 1 * NANO),
    "month": UsageFigures(4, 5, 6, 2 * NANO),
    "total_cost_nanousd": 3 * NANO,
    "held_nanousd": {"day": NANO // 10, "month": NANO // 5, "total": NANO // 4},
}
MARCH = int(datetime(2028, 3, 1, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("period", "used", "reserved", "remaining", "resets_at"),
    [
        ("day", "1", "0.1", "3.9", MARCH),
        ("month", "2", "0.2", "2.8", MARCH),
        ("total", "3", "0.25", "1.75", None),
    ],
)
async def test_a_budget_is_that_of_its_period(
    period: str, used: str, reserved: str, remaining: str, resets_at: int | None
) -> None:
    key = await shown(view(**USED), budget_nanousd=5 * NANO, budget_period=period)
    assert key["budget"] == {
        "period": period,
        "limit_usd": "5",
        "used_usd": used,
        "reserved_usd": reserved,
        "remaining_usd": remaining,
        "resets_at": resets_at,
    }
    assert key["usage"]["today"] == {
        "requests": 1,
        "prompt_tokens": 2,
        "completion_tokens": 3,
        "cost_usd": "1",
    }
    assert key["usage"]["month"]["cost_usd"] == "2"


async def test_nothing_remains_of_a_budget_that_was_overspent() -> None:
    key = await shown(view(**USED), budget_nanousd=0, budget_period="day")
    assert key["budget"]["remaining_usd"] == "0"


@pytest.mark.parametrize("month", range(1, 13))
async def test_a_month_ends_with_its_last_day(month: int) -> None:
    last_second = datetime(2027 + month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp() - 1
    for at in (last_second, datetime(2027, month, 1, tzinfo=UTC).timestamp()):
        key = await shown(view(at_ms=int(at) * 1000), budget_nanousd=1, budget_period="month")
        assert key["budget"]["resets_at"] == int(last_second) + 1


@pytest.mark.parametrize(("left", "text"), [(NANO, "1"), (0, "0"), (None, "0"), (-1, "-0.000000001")])
async def test_credit(left: int | None, text: str) -> None:
    assert (await shown(view(credit_nanousd=left), has_credit=True))["credit"] == {"remaining_usd": text}
    assert (await shown(view(credit_nanousd=left)))["credit"] is None


@pytest.mark.parametrize("error", [StoreAway("away"), StoreReplyError("OOM")])
async def test_without_the_store_nobody_knows(error: StoreError) -> None:
    with pytest.raises(StoreUnavailable, match="Try again"):
        await shown(error)
