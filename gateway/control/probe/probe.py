"""Asks an upstream everything, some questions at a time, and draws the conclusions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.control.probe.asking import Answer, Asker, events_of
from gateway.control.probe.findings import Findings
from gateway.control.probe.questions import (
    CAP_TOKENS,
    CAPS,
    LONG,
    PLAIN,
    QUESTIONS,
    WRONG_MODEL,
    Question,
)
from gateway.domain.errors import UpstreamsFailed
from gateway.relay.chunk import finished_choices, load_object, text_of, usage_of

AT_ONCE = 4
"""Questions in flight: a small server is not to be pressed."""

_STREAM: dict[str, Any] = {**PLAIN, "stream": True}
_STREAM_USAGE: dict[str, Any] = {**_STREAM, "stream_options": {"include_usage": True}}


@dataclass(frozen=True, slots=True)
class _Conclusion:
    """Of one question: a setting it needs, or what could not be known. Neither: all is well."""

    setting: str = ""
    value: Any = None
    says: str = ""
    unknown: str = ""


class Probe:
    """One examination of one model at one upstream.

    Args:
        has_list: its list of models is asked for too.
    """

    def __init__(self, asker: Asker, findings: Findings, *, has_list: bool) -> None:
        self._asker = asker
        self._found = findings
        self._has_list = has_list
        self._cap: Mapping[str, int] = {}

    async def run(self) -> None:
        """Ask everything. Raises `UpstreamsFailed` where not even a plain call is taken."""
        await self._find_cap()
        plain = await self._ask(PLAIN)
        if not plain.is_taken:
            raise UpstreamsFailed(f"The upstream did not take a plain call: {plain.why or 'no answer'}")
        self._look_at_reply(plain)
        if self._has_list:
            await self._find_list()
        await self._find_stream()
        gate = asyncio.Semaphore(AT_ONCE)

        async def put(question: Question) -> _Conclusion:
            async with gate:
                return await self._put(question)

        # Used in the order of the questions, whichever answer comes first.
        for question, conclusion in zip(QUESTIONS, await asyncio.gather(*map(put, QUESTIONS)), strict=True):
            self._conclude(question.setting, conclusion)
        await self._find_errors()

    async def _ask(self, fields: Mapping[str, Any]) -> Answer:
        return await self._asker.ask({**fields, **self._cap})

    def _conclude(self, setting: str, conclusion: _Conclusion) -> None:
        if conclusion.unknown:
            self._found.leave_open(setting, conclusion.unknown)
        elif conclusion.setting:
            self._found.add(conclusion.setting, conclusion.value, conclusion.says)

    async def _put(self, question: Question) -> _Conclusion:
        odd = await self._ask(question.asks)
        if odd.is_taken:
            return _Conclusion()
        if odd.is_taken is None:
            return _Conclusion(unknown=odd.why)
        if question.without is not PLAIN:
            without = await self._ask(question.without)
            if not without.is_taken:
                return _Conclusion(unknown=f"refused without it too: {without.why}")
        for value, asks in question.milder:
            if (await self._ask(asks)).is_taken:
                return _Conclusion(question.setting, value, question.says)
        setting, value, says = question.worst or (question.setting, question.value, question.says)
        return _Conclusion(setting, value, says)

    async def _find_cap(self) -> None:
        """Which names of the cap are taken and held to."""
        answers = {name: await self._asker.ask({**LONG, name: CAP_TOKENS}) for name in CAPS}
        held = [name for name, answer in answers.items() if answer.is_taken and _is_held(answer)]
        taken = [name for name, answer in answers.items() if answer.is_taken]
        self._cap = dict.fromkeys((held or taken)[:1], CAP_TOKENS)
        if len(held) == 1:
            [other] = [name for name in CAPS if name not in held]
            answer = answers[other]
            if answer.is_taken is None:
                self._found.leave_open("quirks.max_tokens", answer.why)
            else:
                does = "ignores" if answer.is_taken else "refuses"
                self._found.add("quirks.max_tokens", held[0], f"it {does} {other}")
        elif not held:
            why = "; ".join(answer.why for answer in answers.values() if answer.why)
            self._found.leave_open("quirks.max_tokens", why or "it holds to a cap under neither name")

    async def _find_list(self) -> None:
        answer = await self._asker.lists_models()
        if answer.is_taken is None:
            self._found.leave_open("quirks.model_list", answer.why)
        elif not answer.is_taken:
            self._found.add("quirks.model_list", False, f"it has no GET /models ({answer.status})")

    async def _find_stream(self) -> None:
        answer, asked = await self._ask(_STREAM_USAGE), True
        if answer.is_taken is False:
            answer, asked = await self._ask(_STREAM), False
            if answer.is_taken:
                self._found.add("stream_usage", False, "it refuses stream_options")
        if not answer.is_taken:
            self._found.leave_open("stream_usage", answer.why)
            return
        events = events_of(answer.body)
        chunks = [chunk for event in events if (chunk := load_object(event)) is not None]
        used = [chunk for chunk in chunks if usage_of(chunk) is not None]
        if not used and asked:
            self._found.notes.append(
                "Streams state no usage, though asked: it is counted here, as an estimate."
            )
        elif any(chunk.get("choices") and not finished_choices(chunk) for chunk in used):
            self._found.notes.append("Streams state usage in every chunk: the last one counts.")
        if b"[DONE]" not in events:
            self._found.notes.append("Streams end without [DONE]: the gateway writes it.")

    async def _find_errors(self) -> None:
        """How it refuses: nothing has to be set for that, but the operator may wonder."""
        try:
            answer = await self._asker.ask({**PLAIN, **self._cap}, model=WRONG_MODEL)
        except UpstreamsFailed:
            self._found.notes.append("A model it does not have is refused like a bad credential.")
            return
        document = answer.document
        error = document.get("error")
        if answer.is_taken:
            self._found.notes.append("It takes any model id: one that is gone there is not noticed.")
        elif answer.is_taken is None:
            return
        elif not document:
            self._found.notes.append("Its errors are no JSON: callers get the gateway's own words.")
        else:
            if not isinstance(error, dict):
                self._found.notes.append("Its errors have another shape: callers get the official one.")
            code = error.get("code") if isinstance(error, dict) else document.get("code")
            if isinstance(code, int):
                self._found.notes.append("Its error codes are numbers: callers get text.")

    def _look_at_reply(self, answer: Answer) -> None:
        document = answer.document
        if usage_of(document) is None:
            self._found.notes.append("Answers state no usage: it is counted here, as an estimate.")
        if not text_of(document):
            self._found.notes.append("The plain call was answered without text.")


def _is_held(answer: Answer) -> bool:
    """Whether the answer kept to the cap. One that is short by itself passes: nobody knows better."""
    document = answer.document
    usage = usage_of(document)
    if usage is not None:
        return usage.completion_tokens <= CAP_TOKENS
    # Without usage: a number a line takes two tokens or so.
    return len(text_of(document).split()) <= CAP_TOKENS


def most_calls() -> list[Mapping[str, Any]]:
    """Every call that a probe may make, for an estimate; repeated ones after failures are not in it."""
    calls: list[Mapping[str, Any]] = [LONG, LONG, PLAIN, _STREAM_USAGE, _STREAM, PLAIN]
    for question in QUESTIONS:
        calls += [question.asks, *(asks for _, asks in question.milder)]
        if question.without is not PLAIN:
            calls.append(question.without)
    return calls
