"""Limits, budgets and credit as the official SDK meets them, in the whole product with two workers."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from tests.e2e.conftest import ACME
from tests.e2e.gateway_process import GatewayProcess, wait_until

MESSAGES: Any = [{"role": "user", "content": "My printer is on fire"}]
CALL: dict[str, Any] = {"model": "support", "messages": MESSAGES, "max_tokens": 8}


class TestRequests:
    def test_a_rate_limit_error_says_what_it_is(self, gateway: GatewayProcess) -> None:
        key = gateway.new_key(limits={"rpm": 1})
        with gateway.sdk(key) as client:
            first = client.chat.completions.with_raw_response.create(**CALL)
            with pytest.raises(openai.RateLimitError) as caught:
                client.chat.completions.create(**CALL)

        assert first.headers["x-ratelimit-limit-requests"] == "1"
        error = caught.value
        assert (error.status_code, error.code, error.type) == (429, "rate_limit_exceeded", "requests")
        assert error.request_id == error.response.headers["x-request-id"]
        assert 1 <= int(error.response.headers["retry-after"]) <= 60
        assert "requests per min (RPM): Limit 1, Used 1, Requested 1." in error.message

    def test_the_sdk_waits_as_long_as_it_is_told_and_then_gets_through(self, gateway: GatewayProcess) -> None:
        key = gateway.new_key(limits={"rpm": 60})
        with gateway.sdk(key, max_retries=3) as client, ThreadPoolExecutor(8) as threads:
            for _ in threads.map(lambda _: client.chat.completions.create(**CALL), range(60)):
                pass  # the whole limit at once
            began = time.monotonic()
            reply = client.chat.completions.create(**CALL)
            waited = time.monotonic() - began

        assert reply.choices[0].message.content
        assert waited < 5

    async def test_the_async_sdk_too(self, gateway: GatewayProcess) -> None:
        key = gateway.new_key(limits={"rpm": 3})
        async with gateway.async_sdk(key) as client:
            calls = (client.chat.completions.create(**CALL) for _ in range(9))
            outcomes = await asyncio.gather(*calls, return_exceptions=True)

        # Two workers, one limit.
        assert sum(isinstance(outcome, openai.RateLimitError) for outcome in outcomes) == 6
        assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 3


class TestWhatIsNotTriedAgain:
    """The SDK tries a 429 twice more, unless it is told that this does not help."""

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"budget": {"usd": "0.000001", "period": "day"}}, "insufficient_quota"),
            ({"credit_usd": "0.000001"}, "insufficient_quota"),
            ({"limits": {"tpm": 5}}, "rate_limit_exceeded"),
            ({"limits": {"rpm": 0}}, "rate_limit_exceeded"),
        ],
        ids=["budget", "credit", "too large", "none"],
    )
    def test_one_request_is_made(self, gateway: GatewayProcess, fields: dict[str, Any], code: str) -> None:
        issued = gateway.issue_key(**fields)
        with (
            gateway.sdk(issued["key"], max_retries=2) as client,
            pytest.raises(openai.RateLimitError) as caught,
        ):
            client.chat.completions.create(**(CALL | {"model": ACME}))

        assert caught.value.code == code
        assert caught.value.response.headers["x-should-retry"] == "false"
        wait_until(lambda: gateway.logged("request", key=issued["id"]), "its line in the log")
        assert len(gateway.logged("request", key=issued["id"])) == 1
