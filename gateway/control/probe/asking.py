"""One call of an endpoint under examination: was it taken, refused, or is it not known?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from gateway.domain.errors import AttemptFailed, FailureClass, UpstreamsFailed
from gateway.domain.usage import Usage
from gateway.relay.chunk import error_of, load_object, usage_of
from gateway.upstream.classify import refusal
from gateway.upstream.client import UpstreamClient

CALL_S = 60.0
"""How long one call may take; a cold model loads for most of it."""
TRIES = 3
LONGEST_WAIT_S = 10.0
MAX_BYTES = 1024 * 1024
_REFUSALS = frozenset({400, 404, 405, 415, 422, 500, 501})
"""Statuses by which servers refuse a body: some answer 500 where a template of theirs fails."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call. `is_taken` is None where that says nothing: a rate limit, a timeout, a 503."""

    is_taken: bool | None
    status: int = 0
    body: bytes = b""
    why: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """The body, where it is a JSON object."""
        return load_object(self.body) or {}


class Asker:
    """Asks one model of one upstream, and counts what it costs.

    Args:
        model: the name that goes into the body.
        deployment: as `UpstreamClient.post` wants it.
        adapter: fields that choose the model there.
        sleep: between tries.
    """

    def __init__(
        self,
        client: UpstreamClient,
        model: str,
        deployment: str | None,
        adapter: Mapping[str, Any],
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._model = deployment or model
        self._deployment = deployment
        self._adapter = adapter
        self._now = now
        self._sleep = sleep
        self._timeouts = replace(client.timeouts, first_token_s=min(CALL_S, client.timeouts.first_token_s))
        self.calls = 0
        self.spent = Usage()
        self.is_metered = True

    async def ask(self, fields: Mapping[str, Any], model: str | None = None) -> Answer:
        """Ask; refusals that may be passing are asked again.

        Raises:
            UpstreamsFailed: the credential is refused, so nothing can be learnt.
        """
        answer = Answer(None)
        for attempt in range(1, TRIES + 1):
            answer, wait_s = await self._once({"model": model or self._model, **fields, **self._adapter})
            if answer.is_taken or (answer.is_taken is False and answer.status < 500):
                break
            if answer.is_taken is False and attempt > 1:
                break  # twice the same 500: it means this body
            if attempt < TRIES:
                await self._sleep(min(wait_s or float(attempt), LONGEST_WAIT_S))
        return answer

    async def lists_models(self) -> Answer:
        """Ask for the list of models."""
        try:
            async with asyncio.timeout(CALL_S):
                response = await self._client.transport.send(
                    self._client.listing(self._client.header_sets[0])
                )
                body = await response.read(8 * MAX_BYTES)
        except (AttemptFailed, TimeoutError) as error:
            return Answer(None, why=str(error))
        is_list = isinstance((load_object(body) or {}).get("data"), list)
        return Answer(response.status == 200 and is_list, response.status, body)

    async def _once(self, body: Mapping[str, Any]) -> tuple[Answer, float | None]:
        self.calls += 1
        try:
            async with asyncio.timeout(CALL_S):
                response = await self._client.post(
                    "/chat/completions", msgspec.json.encode(body), 0, self._timeouts, None, self._deployment
                )
                content = await response.read(MAX_BYTES)
        except (AttemptFailed, TimeoutError) as error:
            return Answer(None, why=str(error) or f"no answer within {CALL_S:.0f} s"), None
        if response.status == 200:
            return self._taken(content), None
        failed = refusal(response, content, self._now())
        why = self._words(response.status, failed.error)
        if failed.failure is FailureClass.CREDENTIAL:
            raise UpstreamsFailed(f"The upstream refused the credential: {why}")
        is_taken = False if response.status in _REFUSALS else None
        return Answer(is_taken, response.status, content, why), failed.retry_after_s

    def _taken(self, content: bytes) -> Answer:
        answer = Answer(True, 200, content)
        error = None if "choices" in answer.document else error_of(answer.document)
        if error is not None:
            return Answer(False, 200, content, self._words(200, error))
        self._count(content)
        return answer

    def _count(self, content: bytes) -> None:
        """Add what the answer says it used; the last usage of a stream."""
        documents = [content] if content.lstrip().startswith(b"{") else events_of(content)
        found = [usage for each in documents if (usage := usage_of(load_object(each) or {})) is not None]
        if not found:
            self.is_metered = False
            return
        self.spent = Usage(
            prompt_tokens=self.spent.prompt_tokens + found[-1].prompt_tokens,
            completion_tokens=self.spent.completion_tokens + found[-1].completion_tokens,
        )

    def _words(self, status: int, error: Mapping[str, object] | None) -> str:
        said = self._client.hidden.hide(str(error["message"])) if error else ""
        return f"{status} {said}".strip()[:200]


def events_of(stream: bytes) -> list[bytes]:
    """The data of each event of a stream that was read whole, line by line; for looking at, not to relay."""
    return [line[5:].strip() for line in stream.splitlines() if line.startswith(b"data:")]
