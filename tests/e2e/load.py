"""Clients that call all the time, by the official SDK without its retries, and note how each call went."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx2
import openai
from openai.types.chat import ChatCompletionUserMessageParam

from tests.e2e.gateway_process import GatewayProcess
from tests.support.polling import until

CLIENTS = 8
PAUSE_S = 0.01
HI: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True)
class Outcome:
    """One call. `status` is None where the connection broke; `code` is the error's, None for a success.

    Times are readings of `time.monotonic`.
    """

    client: int
    began: float
    ended: float
    status: int | None
    code: str | None = None
    retry_after: str | None = None
    detail: str = ""

    @property
    def is_good(self) -> bool:
        return self.status == 200 and self.code is None


@dataclass
class Load:
    """What the clients saw so far."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if not outcome.is_good]

    def answered_after(self, moment: float) -> dict[int, float]:
        """For each client, when the first call that it began after `moment` was answered well."""
        first: dict[int, float] = {}
        for outcome in self.outcomes:
            if outcome.is_good and outcome.began > moment:
                first.setdefault(outcome.client, outcome.ended)
        return first

    async def all_answered_after(self, moment: float, *, within_s: float) -> None:
        """Wait until every client had a good answer to a call begun after `moment`."""
        await until(
            lambda: len(self.answered_after(moment)) == CLIENTS,
            f"an answer for each client after {moment}: {self.failures}",
            within_s=within_s,
        )


@contextlib.asynccontextmanager
async def load_on(gateway: GatewayProcess, key: str) -> AsyncIterator[Load]:
    """Eight clients, half of them streaming, until the block ends; then their last calls are finished."""
    load = Load()
    over = asyncio.Event()
    async with gateway.async_sdk(key) as sdk, asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            clients.create_task(_call_until(over, sdk, load, number))
        try:
            await load.all_answered_after(time.monotonic(), within_s=10)
            yield load
        finally:
            over.set()


async def _call_until(over: asyncio.Event, sdk: openai.AsyncOpenAI, load: Load, number: int) -> None:
    while not over.is_set():
        load.outcomes.append(await _call(sdk, number, stream=number % 2 == 0))
        await asyncio.sleep(PAUSE_S)


async def _call(sdk: openai.AsyncOpenAI, number: int, *, stream: bool) -> Outcome:
    began = time.monotonic()
    try:
        if stream:
            await _stream(sdk)
        else:
            reply = await sdk.chat.completions.create(model="support", messages=HI, max_tokens=4)
            assert reply.choices[0].finish_reason == "length"
    except openai.APIStatusError as error:
        wait = error.response.headers.get("retry-after")
        return Outcome(number, began, time.monotonic(), error.status_code, error.code, wait, str(error))
    except (openai.APIConnectionError, httpx2.TransportError) as error:
        return Outcome(number, began, time.monotonic(), None, detail=repr(error))
    except openai.APIError as error:  # the error frame of a stream
        return Outcome(number, began, time.monotonic(), 200, error.code or "none", None, str(error))
    return Outcome(number, began, time.monotonic(), 200)


async def _stream(sdk: openai.AsyncOpenAI) -> None:
    chunks = await sdk.chat.completions.create(model="support", messages=HI, max_tokens=8, stream=True)
    reasons = [chunk.choices[0].finish_reason async for chunk in chunks]
    assert reasons[-1] == "length", "a stream ended early without a word"
