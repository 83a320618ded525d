"""A pipeline that plays, callers that write down, and workers that share a store in memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from gateway.cache.lead import Lead
from gateway.cached_calls import CachedCalls, FreeHold, Work
from gateway.caller import Answer, Drain, Reader
from gateway.config.models import Settings
from gateway.domain.cache import CacheAsk, CachePolicy
from gateway.domain.call import CHAT, Call, CallOptions
from gateway.domain.errors import GatewayError, StreamBroken
from gateway.domain.facts import Facts
from gateway.domain.plan import Candidate, Target
from gateway.domain.principal import Principal
from gateway.domain.usage import Usage
from gateway.edge.request import parse_call
from gateway.pricing.book import PriceBook
from gateway.snapshot import Snapshot
from tests.support.cache_store import MemoryCacheStore
from tests.support.fake_upstream import finish, role, text, usage

ALICE = Principal("01alicealice", "alice", team="red")
POLICY = CachePolicy(b"fingerprint")
HELLO = (role(), text("Hel"), text("lo"), finish(), usage())
ANSWER = msgspec.json.encode(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }
)
SETTINGS: dict[str, Any] = {"upstreams": {"openai": {"base_url": "http://127.0.0.1:1/v1"}}}

Step = bytes | asyncio.Event | BaseException


def target(policy: CachePolicy | None = POLICY) -> Target:
    """What the alias means."""
    return Target("support", "support", "support@1/stable", (Candidate("openai", "gpt-4o"),), cache=policy)


class Upstream:
    """Plays the same steps for each call, and counts them."""

    def __init__(self, *steps: Step, fallback: str = "none") -> None:
        self.steps = steps
        self.fallback = fallback
        self.calls = 0
        self.left = 0
        self.free = 0
        self.withdrawn = 0
        self.refuses: GatewayError | None = None


class _Ear:
    """Hears what a leader's reader is told."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def client_gone(self) -> None:
        self.gone.set()


class _UpstreamAnswer:
    def header(self, name: bytes) -> bytes | None:
        return b"12" if name == b"openai-processing-ms" else None

    def has_any(self, beginning: bytes) -> bool:
        return b"openai-processing-ms".startswith(beginning)


class _Hold:
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self.is_settled = False

    async def settle_free(self) -> None:
        self.is_settled = True
        self._upstream.free += 1

    async def withdraw(self) -> None:
        self.is_settled = True
        self._upstream.withdrawn += 1


class Pipeline:
    """Stands for the pipeline of one process."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def serve(self, work: Work) -> None:
        caller = cast("Any", work.caller)
        await self._call(work, work.call, caller)

    async def lead(self, work: Work, lead: Lead) -> None:
        await self._call(work, work.call, lead)

    @asynccontextmanager
    async def hold_free(self, work: Work) -> AsyncIterator[FreeHold]:  # noqa: ARG002  # the port's
        if self._upstream.refuses is not None:
            raise self._upstream.refuses
        yield _Hold(self._upstream)

    async def _call(self, work: Work, call: Call, caller: Any) -> None:
        upstream, facts = self._upstream, work.facts
        upstream.calls += 1
        facts.model, facts.upstream, facts.fallback = "gpt-4o", "openai", upstream.fallback
        ear = _Ear()
        caller.watch(ear)
        drain: Drain | None = None
        for step in upstream.steps:
            if isinstance(step, BaseException) and not (isinstance(step, StreamBroken) and drain is not None):
                raise step
            if isinstance(step, StreamBroken):
                caller.finish_stream(step)
                return
            if isinstance(step, asyncio.Event):
                await self._until(step, ear)
                continue
            assert isinstance(step, bytes)
            if not call.stream:
                facts.usage = Usage(7, 2)
                caller.reply(step, _UpstreamAnswer())
                return
            if drain is None:
                drain = caller.start_stream(ear, _UpstreamAnswer())
            if b'"usage"' not in step or call.wants_usage:
                drain.write(step)
        facts.usage = Usage(7, 2)
        caller.finish_stream(None)

    async def _until(self, step: asyncio.Event, ear: _Ear) -> None:
        waits = [asyncio.ensure_future(step.wait()), asyncio.ensure_future(ear.gone.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if ear.gone.is_set():
            self._upstream.left += 1
            raise asyncio.CancelledError


class Client:
    """A caller that writes down what it gets."""

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.events = b""
        self.is_finished = False
        self.error: StreamBroken | None = None
        self.answer: Answer | None = None
        self.reader: Reader | None = None

    def watch(self, reader: Reader | None) -> None:
        self.reader = reader

    def reply(self, body: bytes, answer: Answer) -> None:
        self.body, self.answer = body, answer

    def start_stream(self, reader: Reader, answer: Answer) -> Drain:
        self.reader, self.answer = reader, answer
        return self

    def write(self, data: bytes) -> None:
        self.events += data

    def finish_stream(self, error: StreamBroken | None) -> None:
        self.is_finished, self.error = True, error


class Request:
    """One request on its way."""

    def __init__(self, work: Work, client: Client, task: asyncio.Task[None]) -> None:
        self.work = work
        self.client = client
        self.task = task

    @property
    def facts(self) -> Facts:
        return self.work.facts

    @property
    def word(self) -> str | None:
        """Of the header `x-tunegate-cache`."""
        return self.work.facts.cache

    async def done(self) -> "Request":
        await self.task
        return self


class Worker:
    """One process."""

    _made = 0

    def __init__(self, store: MemoryCacheStore, upstream: Upstream, *, secret: bytes | None = b"s") -> None:
        Worker._made += 1
        self.counted: list[str] = []
        self.now = 1000.0
        self._ids = 0
        self._pipeline = Pipeline(upstream)
        self.calls = CachedCalls(
            store,
            lambda: secret,
            f"p{Worker._made}",
            new_id=self._new_id,
            count=self.counted.append,
            wall_clock=lambda: self.now,
        )

    def asks(
        self,
        *,
        stream: bool = False,
        wants_usage: bool = False,
        principal: Principal = ALICE,
        policy: CachePolicy | None = POLICY,
        ask: CacheAsk | None = None,
        settings: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Request:
        """Send a request; it runs on its own."""
        body = {
            "model": "support",
            "messages": [{"role": "user", "content": "hi"}],
            "temperature": 0,
            **fields,
        }
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": wants_usage}}
        loaded = Settings.model_validate(SETTINGS | (settings or {}))
        client = Client()
        work = Work(
            call=parse_call(CHAT, msgspec.json.encode(body), 64),
            target=target(policy),
            options=CallOptions(cache=ask),
            principal=principal,
            snapshot=cast("Snapshot", SimpleNamespace(settings=loaded, prices=PriceBook(loaded))),
            caller=client,
            facts=Facts(self._new_id(), 0.0),
        )
        task = asyncio.get_running_loop().create_task(self.calls.serve(work, self._pipeline))
        return Request(work, client, task)

    def _new_id(self) -> str:
        self._ids += 1
        return f"req-{self._ids}"


async def soon() -> None:
    """Let everything that can go on, go on."""
    for _ in range(200):
        await asyncio.sleep(0)


async def all_done(requests: Sequence[Request]) -> None:
    """Wait for all of them."""
    await asyncio.gather(*(request.task for request in requests))
