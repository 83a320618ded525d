"""`GET /v1/key`: what the holder of a virtual key may do with it, and how much of it is left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from gateway.domain.errors import StoreUnavailable
from gateway.domain.money import usd
from gateway.domain.principal import ROUTE_NAMES, Principal
from gateway.limits.values import AccountView, Bounds, Period, UsageFigures, Window
from gateway.snapshot import Snapshots
from gateway.store.errors import StoreError


class Accounts(Protocol):
    """Where keys stand."""

    async def account(self, key_id: str, bounds: Bounds) -> AccountView:
        """How a key stands now. Raises `StoreError`."""


class KeyStatus:
    """Answers `GET /v1/key`. Reading takes nothing of the key's limits.

    Args:
        accounts: where keys stand.
        snapshots: for the limits of keys that name none.
    """

    def __init__(self, accounts: Accounts, snapshots: Snapshots) -> None:
        self._accounts = accounts
        self._snapshots = snapshots

    async def show(self, principal: Principal) -> dict[str, Any]:
        """The key object of who asks. Raises `StoreUnavailable`."""
        bounds = Bounds.of(principal.limits, self._snapshots.current.default_bounds)
        try:
            account = await self._accounts.account(principal.key_id, bounds)
        except StoreError as error:
            raise StoreUnavailable(
                "The store is away, so nobody knows how this key stands. Try again shortly."
            ) from error
        concurrency = {"limit": bounds.concurrency, "in_use": account.in_use}
        return {
            "object": "key",
            "id": principal.key_id,
            "name": principal.name,
            "status": "active",  # no other key comes this far
            "aliases": None if principal.aliases is None else sorted(principal.aliases),
            "models": principal.models,
            "routes": None if principal.routes is None else sorted(principal.routes, key=ROUTE_NAMES.index),
            "expires_at": principal.expires_at,
            "limits": {
                "rpm": _window(account.rpm),
                "tpm": _window(account.tpm),
                "concurrency": None if bounds.concurrency is None else concurrency,
            },
            "budget": _budget(principal, account),
            "credit": _credit(principal, account),
            "usage": {"today": _usage(account.day), "month": _usage(account.month)},
        }


def _window(window: Window | None) -> dict[str, Any] | None:
    if window is None:
        return None
    return {
        "limit": window.limit,
        "remaining": window.remaining,
        "reset_s": window.reset_ms / 1000,
    }


def _budget(principal: Principal, account: AccountView) -> dict[str, Any] | None:
    limit, period = principal.budget_nanousd, principal.budget_period
    if limit is None:
        return None
    used = {
        "day": account.day.cost_nanousd,
        "month": account.month.cost_nanousd,
        "total": account.total_cost_nanousd,
    }[period]
    reserved = account.held_nanousd[period]
    return {
        "period": period,
        "limit_usd": usd(limit),
        "used_usd": usd(used),
        "reserved_usd": usd(reserved),
        "remaining_usd": usd(max(0, limit - used - reserved)),
        "resets_at": _end_of(period, account.at_ms),
    }


def _credit(principal: Principal, account: AccountView) -> dict[str, str] | None:
    if not principal.has_credit:
        return None
    return {"remaining_usd": usd(account.credit_nanousd or 0)}


def _usage(figures: UsageFigures) -> dict[str, Any]:
    return {
        "requests": figures.requests,
        "prompt_tokens": figures.prompt_tokens,
        "completion_tokens": figures.completion_tokens,
        "cost_usd": usd(figures.cost_nanousd),
    }


def _end_of(period: Period, at_ms: int) -> int | None:
    """The unix second when the UTC day or month of a time ends."""
    if period == "total":
        return None
    now = datetime.fromtimestamp(at_ms // 1000, UTC)
    today = datetime(now.year, now.month, now.day, tzinfo=UTC)
    a_day_of_the_next = today.replace(day=1) + timedelta(days=31)
    end = today + timedelta(days=1) if period == "day" else a_day_of_the_next.replace(day=1)
    return int(end.timestamp())
