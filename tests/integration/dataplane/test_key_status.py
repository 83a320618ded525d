"""`GET /v1/key` on a worker and a real store."""

import secrets
import time
from pathlib import Path
from typing import Any

from gateway.auth.record import KeyBudget
from gateway.auth.virtual_key import split_key
from gateway.limits.values import Admission, Admitted, Bounds, Budget, Counters, Dimensions, Settlement
from gateway.store.accounts import AccountStore
from gateway.store.client import Store
from tests.integration.dataplane.conftest import StartGateway
from tests.support.client import client_of
from tests.support.gateway import RunningGateway, config_text, running_gateway
from tests.support.valkey import ValkeyServer

NANO = 10**9
NOTHING = {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost_usd": "0"}


async def status(gateway: RunningGateway, key: str, expect: int = 200) -> dict[str, Any]:
    async with client_of(gateway.url, key) as client:
        reply = await client.get("/v1/key")
    assert reply.status_code == expect, reply.text
    assert reply.headers["x-request-id"]
    body: dict[str, Any] = reply.json()
    return body


def id_of(key: str) -> str:
    split = split_key(key)
    assert split is not None
    return split[0]


async def admitted(store: Store, key: str, **fields: Any) -> Admission:
    """A call of the key that is open until it is settled."""
    admission = Admission(
        request_id=f"req_{secrets.token_hex(8)}",
        key_id=id_of(key),
        revision=1,
        process="tests",
        basis=b"{}",
        **fields,
    )
    assert isinstance(await AccountStore(store).admit(admission), Admitted)
    return admission


async def settled(store: Store, admission: Admission, cost: int) -> None:
    settlement = Settlement(
        request_id=admission.request_id,
        key_id=admission.key_id,
        state="exact",
        record=b"{}",
        admitted_ms=time.time_ns() // 10**6,
        counters=Counters(prompt_tokens=11, completion_tokens=7, cost_nanousd=cost),
        dimensions=Dimensions(key=admission.key_id),
        tokens_actual=18,
        tpm=admission.bounds.tpm,
        has_credit=admission.has_credit,
    )
    assert await AccountStore(store).settle(settlement) == "stored"


async def test_a_key_that_names_nothing_has_the_default_limits(gateway: RunningGateway) -> None:
    key = await gateway.new_key(name="plain")
    for _ in range(2):  # looking takes nothing
        assert await status(gateway, key) == {
            "object": "key",
            "id": id_of(key),
            "name": "plain",
            "status": "active",
            "aliases": None,
            "models": None,
            "routes": None,
            "expires_at": None,
            "limits": {
                "rpm": {"limit": 600, "remaining": 600, "reset_s": 0},
                "tpm": {"limit": 1_000_000, "remaining": 1_000_000, "reset_s": 0},
                "concurrency": {"limit": 100, "in_use": 0},
            },
            "budget": None,
            "credit": None,
            "usage": {"today": NOTHING, "month": NOTHING},
        }


async def test_what_is_taken_used_and_left(gateway: RunningGateway, store: Store) -> None:
    key = await gateway.new_key(
        limits={"rpm": 2, "tpm": 10_000, "concurrency": 3},
        budget=KeyBudget(5 * NANO, "month"),
        has_credit=True,
    )
    await AccountStore(store).add_credit(id_of(key), 10 * NANO, grant_id=id_of(key))
    asked = {
        "bounds": Bounds(rpm=2, tpm=10_000, concurrency=3),
        "tokens": 1000,
        "bound_nanousd": NANO,
        "budget": Budget(5 * NANO, "month"),
        "has_credit": True,
    }
    first = await admitted(store, key, **asked)
    await admitted(store, key, **asked)
    await settled(store, first, cost=250_000_000)
    shown = await status(gateway, key)

    assert shown["limits"]["rpm"]["limit"] == 2
    assert shown["limits"]["rpm"]["remaining"] in (0, 1)  # one is back after half a minute
    assert 0 < shown["limits"]["rpm"]["reset_s"] <= 60
    assert 10_000 - 1000 - 18 <= shown["limits"]["tpm"]["remaining"] <= 10_000
    assert shown["limits"]["concurrency"] == {"limit": 3, "in_use": 1}
    budget = shown["budget"]
    assert budget.pop("resets_at") > time.time()
    assert budget == {
        "period": "month",
        "limit_usd": "5",
        "used_usd": "0.25",
        "reserved_usd": "1",
        "remaining_usd": "3.75",
    }
    assert shown["credit"] == {"remaining_usd": "8.75"}
    used = {"requests": 1, "prompt_tokens": 11, "completion_tokens": 7, "cost_usd": "0.25"}
    assert shown["usage"] == {"today": used, "month": used}


async def test_every_key_may_look_but_only_a_key(gateway: RunningGateway) -> None:
    key = await gateway.new_key(routes=(), aliases=(), models=(), limits={"rpm": 0, "concurrency": None})
    shown = await status(gateway, key)
    assert (shown["routes"], shown["aliases"], shown["models"]) == ([], [], [])
    assert shown["limits"]["rpm"] == {"limit": 0, "remaining": 0, "reset_s": 0}
    assert shown["limits"]["concurrency"] is None
    error = (await status(gateway, "tg-00aaaaaaaaaa-wrong", expect=401))["error"]
    assert error["code"] == "invalid_api_key"
    async with client_of(gateway.url, key) as client:
        reply = await client.post("/v1/key", {})
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET")


async def test_the_default_is_that_of_the_configuration(start_gateway: StartGateway) -> None:
    gateway = await start_gateway({}, {}, limits={"default": {"rpm": None, "tpm": 5}})
    limits = (await status(gateway, await gateway.new_key()))["limits"]
    assert limits["rpm"] is None
    assert limits["tpm"] == {"limit": 5, "remaining": 5, "reset_s": 0}
    assert limits["concurrency"] == {"limit": 100, "in_use": 0}


async def test_while_the_store_is_away_nobody_knows(tmp_path: Path) -> None:
    with ValkeyServer() as own:
        store = Store(own.url, timeout_s=5)
        await store.open()
        try:
            text = config_text(own.url, {}, {}, store={"url": own.url, "timeout_ms": 300})
            async with running_gateway(text, store, tmp_path) as gateway:
                key = await gateway.new_key()
                await status(gateway, key)  # so that the worker knows the key
                own.kill()
                error = (await status(gateway, key, expect=503))["error"]
                assert (error["type"], error["code"]) == ("server_error", "store_unavailable")
        finally:
            await store.aclose()
