"""Limits of a key as its holder meets them: what is refused, what the headers say, and who shares a limit."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import httpx2
import msgspec
import pytest

from gateway.store.client import Store
from gateway.store.key_repository import KeyRepository
from gateway.telemetry.metrics import LIMIT_REJECTIONS
from tests.integration.dataplane.conftest import FT, StartGateway
from tests.support.client import HI, client_of
from tests.support.fake_upstream import FakeUpstream, done, finish, role, text, until
from tests.support.gateway import RunningGateway
from tests.support.ledger import NOTHING_HELD, counted, entries, held, id_of, records

# As clients of the official API read it.
GO_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:([\d.]+)ms)?")


def seconds(duration: str) -> float:
    """A Go duration in seconds."""
    found = GO_DURATION.fullmatch(duration)
    assert found is not None, duration
    assert duration
    hours, minutes, whole, ms = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + whole + ms / 1000


def refusal_of(reply: httpx2.Response, dimension: str) -> str:
    """The message of a refusal by a limit; all else of it is checked."""
    assert reply.status_code == 429
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == (dimension, "rate_limit_exceeded")
    assert reply.headers["x-request-id"]
    message: str = error["message"]
    return message


def tokens_of(model: str = "support", **fields: Any) -> int:
    """What the prompt of such a call is taken for: a token for 4 bytes."""
    values = {"model": model, "messages": HI} | fields
    return -(-sum(len(json.dumps(value)) for value in values.values()) // 4)


async def change(store: Store, key: str, **fields: Any) -> None:
    """A new revision of a key, as the admin API writes it."""
    keys = KeyRepository(store)
    stored = await keys.get(id_of(key))
    assert stored is not None
    record = msgspec.structs.replace(stored.record, revision=stored.record.revision + 1, **fields)
    assert await keys.replace(record)


class TestRequestsPerMinute:
    async def test_one_more_than_the_limit_is_refused_and_told_when_to_come_back(
        self, gateway: RunningGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        key = await gateway.new_key(limits={"rpm": 2})
        async with client_of(gateway.url, key) as client:
            assert [(await client.chat()).status_code for _ in range(2)] == [200, 200]
            refused = await client.chat()

        message = refusal_of(refused, "requests")
        assert "requests per min (RPM): Limit 2, Used 2, Requested 1. Please try again in " in message
        # One of two a minute is back after half a minute.
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        wait_ms = int(refused.headers["retry-after-ms"])
        assert 0 < wait_ms <= 30_000
        assert int(refused.headers["retry-after"]) == -(-wait_ms // 1000)
        assert "x-should-retry" not in refused.headers
        # Nothing was taken for it, nothing was sent, and it is no request of the ledger.
        assert len(upstream.calls) == 2
        assert len(await records(store, key, 2)) == 2
        assert await held(store, key) == NOTHING_HELD
        assert counted(gateway, LIMIT_REJECTIONS) == {("requests",): 1}

    async def test_every_answer_says_how_the_limit_stands(self, gateway: RunningGateway) -> None:
        key = await gateway.new_key(limits={"rpm": 3})
        async with client_of(gateway.url, key) as client:
            began = time.monotonic()
            replies = [
                await client.chat(),
                await client.chat(stream=True),
                await client.chat(),
                await client.chat(),
            ]
            took = time.monotonic() - began

        assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
        for reply, left in zip(replies, (2, 1, 0, 0), strict=True):
            assert reply.headers["x-ratelimit-limit-requests"] == "3"
            assert reply.headers["x-ratelimit-remaining-requests"] == str(left)
            # Full again when all that was taken has come back, 20 s each.
            full_in = seconds(reply.headers["x-ratelimit-reset-requests"])
            assert (3 - left) * 20 - took <= full_in <= (3 - left) * 20

    async def test_what_is_refused_before_the_limits_costs_nothing(self, gateway: RunningGateway) -> None:
        key = await gateway.new_key(limits={"rpm": 1})
        async with client_of(gateway.url, key) as client:
            assert (await client.chat(FT.replace("acme", "stranger"))).status_code == 404
            assert (await client.chat(max_tokens=0)).status_code == 400
            assert (await client.get("/v1/models")).status_code == 200
            assert (await client.get("/v1/key")).status_code == 200
            assert (await client.chat()).status_code == 200
            refusal_of(await client.chat(), "requests")

    async def test_as_many_at_once_as_the_limit_has_and_no_more(self, gateway: RunningGateway) -> None:
        key = await gateway.new_key(limits={"rpm": 5})
        async with client_of(gateway.url, key) as client:
            replies = await asyncio.gather(*(client.chat() for _ in range(20)))

        assert sorted(reply.status_code for reply in replies) == [200] * 5 + [429] * 15

    async def test_failed_calls_count(self, gateway: RunningGateway, upstream: FakeUpstream) -> None:
        upstream.refuses(FT, 400)
        key = await gateway.new_key(limits={"rpm": 1})
        async with client_of(gateway.url, key) as client:
            assert (await client.chat()).status_code == 400
            refusal_of(await client.chat(), "requests")

    async def test_two_workers_share_one_limit(
        self, start_gateway: StartGateway, upstream: FakeUpstream
    ) -> None:
        blocks = ({"a": {"base_url": upstream.url}}, {"support": {"model": "m"}})
        one, other = await start_gateway(*blocks), await start_gateway(*blocks)
        key = await one.new_key(limits={"rpm": 6})
        async with client_of(one.url, key) as here, client_of(other.url, key) as there:
            replies = await asyncio.gather(*(client.chat() for client in (here, there) * 6))

        assert sorted(reply.status_code for reply in replies) == [200] * 6 + [429] * 6


class TestTokensPerMinute:
    async def test_an_estimate_is_taken_and_the_settlement_gives_the_rest_back(
        self, gateway: RunningGateway
    ) -> None:
        key = await gateway.new_key(limits={"tpm": 1000})
        estimate = tokens_of(max_tokens=100) + 100
        async with client_of(gateway.url, key) as client:
            began = time.monotonic()
            first, second = await client.chat(max_tokens=100), await client.chat(max_tokens=100)
            came_back = (time.monotonic() - began) * 1000 / 60

        assert first.headers["x-ratelimit-limit-tokens"] == "1000"
        assert int(first.headers["x-ratelimit-remaining-tokens"]) == 1000 - estimate
        # 9 were used: 7 of the prompt, 2 of the answer.
        left = int(second.headers["x-ratelimit-remaining-tokens"])
        assert 1000 - 9 - estimate <= left <= 1000 - 9 - estimate + came_back + 1

    async def test_without_a_cap_an_answer_is_taken_for_512_tokens(self, gateway: RunningGateway) -> None:
        key = await gateway.new_key(limits={"tpm": 10_000})
        async with client_of(gateway.url, key) as client:
            plain, thrice = await client.chat(), await client.chat(n=3)

        assert int(plain.headers["x-ratelimit-remaining-tokens"]) == 10_000 - tokens_of() - 512
        assert int(thrice.headers["x-ratelimit-remaining-tokens"]) < 10_000 - tokens_of(n=3) - 3 * 512 + 100

    async def test_more_than_estimated_is_a_debt(
        self, gateway: RunningGateway, upstream: FakeUpstream
    ) -> None:
        usage = {"prompt_tokens": 2000, "completion_tokens": 1000, "total_tokens": 3000}
        choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
        upstream.answers(FT, {"object": "chat.completion", "choices": [choice], "usage": usage})
        key = await gateway.new_key(limits={"tpm": 1000})
        async with client_of(gateway.url, key) as client:
            assert (await client.chat(max_tokens=100)).status_code == 200
            refused = await client.chat(max_tokens=100)

        refusal_of(refused, "tokens")
        assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
        # 3000 used of 1000 a minute: 2000 and what this call asks for must come back first.
        wait_s = (2000 + tokens_of(max_tokens=100) + 100) * 60 / 1000
        assert wait_s - 5 < int(refused.headers["retry-after-ms"]) / 1000 <= wait_s
        assert 175 < seconds(refused.headers["x-ratelimit-reset-tokens"]) <= 180
        assert refused.headers["x-ratelimit-reset-tokens"].startswith(("2m5", "3m0"))

    async def test_what_never_fits_is_not_tried_again(self, gateway: RunningGateway) -> None:
        key = await gateway.new_key(limits={"tpm": 1000})
        async with client_of(gateway.url, key) as client:
            refused = await client.chat(max_tokens=1001)

        asked = tokens_of(max_tokens=1001) + 1001
        message = refusal_of(refused, "tokens")
        assert message.startswith("Request too large for this key on tokens per min (TPM): ")
        assert f"Limit 1000, Requested {asked}." in message
        assert refused.headers["x-should-retry"] == "false"
        assert "retry-after" not in refused.headers
        assert refused.headers["x-ratelimit-remaining-tokens"] == "1000"

    async def test_the_larger_one_of_both_caps_counts(self, gateway: RunningGateway) -> None:
        key = await gateway.new_key(limits={"tpm": 10_000})
        caps: dict[str, Any] = {"max_tokens": 300, "max_completion_tokens": 700}
        async with client_of(gateway.url, key) as client:
            reply = await client.chat(**caps)

        assert int(reply.headers["x-ratelimit-remaining-tokens"]) == 10_000 - tokens_of(**caps) - 700

    async def test_a_cap_is_taken_for_no_more_than_the_model_answers_with(
        self, gateway: RunningGateway
    ) -> None:
        key = await gateway.new_key(limits={"tpm": 100_000})
        async with client_of(gateway.url, key) as client:
            reply = await client.chat(max_tokens=1_000_000_000)

        assert reply.status_code == 200
        taken = tokens_of(max_tokens=1_000_000_000) + 32_768
        assert int(reply.headers["x-ratelimit-remaining-tokens"]) == 100_000 - taken


class TestConcurrency:
    async def test_open_streams_count_until_they_end(
        self, gateway: RunningGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        go_on = asyncio.Event()
        for _ in range(2):
            upstream.plays(FT, role(), text("Hel"), until(go_on), finish(), done())
        key = await gateway.new_key(limits={"concurrency": 2})
        async with client_of(gateway.url, key) as client:
            async with client.stream() as one, client.stream() as two:
                refused = await client.chat()
                message = refusal_of(refused, "concurrency")
                assert "calls at once: Limit 2, Used 2, Requested 1." in message
                assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("1", "1000")
                assert (await held(store, key))["calls"] == 2
                go_on.set()
                assert (await one.aread()).endswith(done())
                assert (await two.aread()).endswith(done())
            # Each was settled before its [DONE] left, so there is room at once.
            assert (await client.chat()).status_code == 200
        assert await held(store, key) == NOTHING_HELD

    async def test_a_client_that_left_makes_room(
        self, gateway: RunningGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        upstream.plays(FT, role(), text("Hel"), until(asyncio.Event()))
        key = await gateway.new_key(limits={"concurrency": 1})
        async with client_of(gateway.url, key) as leaving, leaving.stream():
            pass
        await records(store, key)

        async with client_of(gateway.url, key) as client:
            assert (await client.chat()).status_code == 200


class TestWhichLimitHolds:
    async def test_keys_that_name_none_have_the_default(
        self, start_gateway: StartGateway, upstream: FakeUpstream
    ) -> None:
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url}},
            {"support": {"model": "m"}},
            limits={"default": {"rpm": 1, "tpm": 5000}},
        )
        plain, named = await gateway.new_key(), await gateway.new_key(limits={"rpm": 2})
        async with client_of(gateway.url, plain) as client:
            assert (await client.chat()).headers["x-ratelimit-limit-tokens"] == "5000"
            refusal_of(await client.chat(), "requests")
        async with client_of(gateway.url, named) as client:
            replies = [await client.chat() for _ in range(3)]

        assert [reply.status_code for reply in replies] == [200, 200, 429]
        assert {reply.headers["x-ratelimit-limit-tokens"] for reply in replies} == {"5000"}

    @pytest.mark.parametrize("unlimited", [None, 1_000_000_000])
    async def test_unlimited_has_no_headers(self, gateway: RunningGateway, unlimited: int | None) -> None:
        key = await gateway.new_key(limits={"rpm": unlimited, "tpm": unlimited, "concurrency": unlimited})
        async with client_of(gateway.url, key) as client:
            reply = await client.chat()

        assert reply.status_code == 200
        assert [name for name in reply.headers if name.startswith("x-ratelimit")] == []

    @pytest.mark.parametrize(
        ("limit", "dimension"), [("rpm", "requests"), ("tpm", "tokens"), ("concurrency", "concurrency")]
    )
    async def test_none_at_all(
        self, gateway: RunningGateway, upstream: FakeUpstream, limit: str, dimension: str
    ) -> None:
        key = await gateway.new_key(limits={limit: 0})
        async with client_of(gateway.url, key) as client:
            refused = await client.chat()

        assert "its limit on" in refusal_of(refused, dimension)
        assert refused.headers["x-should-retry"] == "false"
        assert "retry-after" not in refused.headers
        assert upstream.calls == []

    async def test_the_first_limit_that_does_not_allow_it_is_named(self, gateway: RunningGateway) -> None:
        key = await gateway.new_key(limits={"rpm": 0, "tpm": 1, "concurrency": 0})
        async with client_of(gateway.url, key) as client:
            refusal_of(await client.chat(), "requests")


class TestAKeyThatChanges:
    async def test_a_raised_limit_holds_at_once(self, gateway: RunningGateway, store: Store) -> None:
        key = await gateway.new_key(limits={"rpm": 0})
        async with client_of(gateway.url, key) as client:
            refusal_of(await client.chat(), "requests")
            await change(store, key, limits={"rpm": 100})
            raised = await client.chat()

        assert raised.status_code == 200
        assert raised.headers["x-ratelimit-limit-requests"] == "100"
        assert len(await records(store, key)) == 1

    async def test_what_was_used_of_a_limit_stays_used(self, gateway: RunningGateway, store: Store) -> None:
        key = await gateway.new_key(limits={"rpm": 2})
        async with client_of(gateway.url, key) as client:
            assert (await client.chat()).headers["x-ratelimit-remaining-requests"] == "1"
            await change(store, key, limits={"rpm": 5})
            raised = await client.chat()
            await change(store, key, limits={"rpm": 1})
            refusal_of(await client.chat(), "requests")

        assert raised.headers["x-ratelimit-remaining-requests"] == "3"

    async def test_a_lowered_one_too(self, gateway: RunningGateway, store: Store) -> None:
        key = await gateway.new_key(limits={"rpm": 100})
        async with client_of(gateway.url, key) as client:
            assert (await client.chat()).status_code == 200
            await change(store, key, limits={"rpm": 0})
            refusal_of(await client.chat(), "requests")

    async def test_a_revoked_key_takes_no_more_calls(
        self, gateway: RunningGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        key = await gateway.new_key()
        async with client_of(gateway.url, key) as client:
            assert (await client.chat()).status_code == 200
            await change(store, key, revoked=True)
            refused = await client.chat()

        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_api_key"
        assert len(upstream.calls) == 1
        assert len(await entries(store, key)) == 1
