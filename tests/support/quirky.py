"""A double of compatible endpoints with planted quirks, each refused as real servers refuse it.

    upstream = QuirkyUpstream({"n", "developer_role"})

`LINES` has what each planted quirk needs in the configuration of a gateway that is to live with it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.support.fake_upstream import FakeUpstream, ReceivedCall, _Script, chunk, done, finish, role, usage

Body = dict[str, Any]
_COUNT = " ".join(str(number) for number in range(1, 101))

LINES: Mapping[str, Mapping[str, Any]] = {
    "stream_options": {"stream_usage": False},
    "max_completion_tokens refused": {"quirks": {"max_tokens": "max_tokens"}},
    "n": {"quirks": {"n": False}},
    "temperature of 0": {"quirks": {"min_temperature": 0.01}},
    "top_p of 1": {"quirks": {"max_top_p": 0.99}},
    "developer_role": {"quirks": {"developer_role": False}},
    "later system messages": {"quirks": {"system_messages": "first"}},
    "content_parts": {"quirks": {"content_parts": False}},
    "null_content": {"quirks": {"null_content": False}},
    "message_names": {"quirks": {"message_names": False}},
    "reasoning_content": {"quirks": {"reasoning_content": False}},
    "strict_tools": {"quirks": {"strict_tools": False}},
    "parallel_tool_calls": {"quirks": {"refuses": ["parallel_tool_calls"]}},
    "store": {"quirks": {"refuses": ["store"]}},
    "no list of models": {"quirks": {"model_list": False}},
}
"""The twelve and some that can stand together."""

OTHERS: Mapping[str, Mapping[str, Any]] = {
    "max_completion_tokens ignored": {"quirks": {"max_tokens": "max_tokens"}},
    "max_tokens": {"quirks": {"max_tokens": "max_completion_tokens"}},
    "temperature": {"quirks": {"refuses": ["temperature"]}},
    "system messages": {"quirks": {"system_messages": "none"}},
    "tools": {},
}
"""Those that stand in place of one of them, and one that no line helps against."""

SHAPES = ("flat errors", "numeric codes", "usage in every chunk", "no [DONE]", "no usage")
"""What needs no line: it is put right everywhere."""


def settings_for(plants: Iterable[str]) -> dict[str, Any]:
    """The lines for several plants, as one block."""
    block: dict[str, Any] = {}
    for plant in [*LINES, *OTHERS]:
        if plant not in plants:
            continue
        for name, value in {**LINES, **OTHERS}[plant].items():
            if not isinstance(value, dict):
                block[name] = value
                continue
            for quirk, wanted in value.items():
                quirks = block.setdefault(name, {})
                quirks[quirk] = quirks.get(quirk, []) + wanted if isinstance(wanted, list) else wanted
    return block


def _roles(body: Body) -> list[str]:
    return [message["role"] for message in body["messages"]]


def _any_message(body: Body, is_odd: Callable[[Body], bool]) -> bool:
    return any(is_odd(message) for message in body["messages"])


def _is_strict(body: Body) -> bool:
    return any("strict" in tool["function"] for tool in body.get("tools") or ())


_ODD: Mapping[str, Callable[[Body], bool]] = {
    "stream_options": lambda body: "stream_options" in body,
    "max_completion_tokens refused": lambda body: "max_completion_tokens" in body,
    "max_tokens": lambda body: "max_tokens" in body,
    "n": lambda body: "n" in body,
    "temperature of 0": lambda body: body.get("temperature") == 0,
    "temperature": lambda body: "temperature" in body,
    "top_p of 1": lambda body: body.get("top_p") == 1,
    "developer_role": lambda body: "developer" in _roles(body),
    "later system messages": lambda body: "system" in _roles(body)[1:],
    "system messages": lambda body: "system" in _roles(body),
    "content_parts": lambda body: _any_message(body, lambda each: isinstance(each.get("content"), list)),
    "null_content": lambda body: _any_message(body, lambda each: each.get("content") is None),
    "message_names": lambda body: _any_message(body, lambda each: "name" in each),
    "reasoning_content": lambda body: _any_message(body, lambda each: "reasoning_content" in each),
    "strict_tools": _is_strict,
    "tools": lambda body: "tools" in body,
    "parallel_tool_calls": lambda body: "parallel_tool_calls" in body,
    "store": lambda body: "store" in body,
}
_IN_A_TEMPLATE = {"developer_role", "later system messages", "system messages"}
"""Found by a template of the model, whose failures some servers answer with 500."""


def odd_in(body: Body, plants: Iterable[str]) -> str | None:
    """The first of the planted quirks that a body meets; None where it meets none."""
    return next((plant for plant in _ODD if plant in plants and _ODD[plant](body)), None)


class QuirkyUpstream(FakeUpstream):
    """One endpoint that serves the model `m` with the given quirks."""

    def __init__(self, plants: Iterable[str]) -> None:
        super().__init__()
        self.plants = set(plants)
        unknown = self.plants - {*LINES, *OTHERS, *SHAPES}
        assert not unknown, unknown

    def _script_for(self, call: ReceivedCall) -> _Script:
        if call.method == "GET":
            if "no list of models" in self.plants:
                return self._refusal(404, "Not Found")
            self.models = [{"id": "m", "object": "model"}]
            return super()._script_for(call)
        body = call.json
        waiting = self._scripts[str(body.get("model"))]
        if waiting:
            return waiting.popleft()
        if body["model"] != "m":
            return self._refusal(404, f"The model `{body['model']}` does not exist.")
        odd = odd_in(body, self.plants)
        if odd is not None:
            return self._refusal(500 if odd in _IN_A_TEMPLATE else 400, f"{odd} is not supported")
        return self._reply(body)

    def _refusal(self, status: int, message: str) -> _Script:
        code: Any = status if "numeric codes" in self.plants else None
        error = {"message": message, "type": "BadRequestError", "param": None, "code": code}
        body = {"object": "error", **error} if "flat errors" in self.plants else {"error": error}
        return _Script(status, {"content-type": "application/json"}, (json.dumps(body).encode(),))

    def _cap(self, body: Body) -> int:
        names = ["max_tokens", "max_completion_tokens"]
        if "max_completion_tokens ignored" in self.plants:
            names.remove("max_completion_tokens")
        return next((body[name] for name in names if body.get(name) is not None), 10**6)

    def _reply(self, body: Body) -> _Script:
        words = (_COUNT if "Count" in str(body["messages"]) else "yes").split()
        whole = len(words)
        words = words[: self._cap(body)]
        reason = "length" if len(words) < whole else "stop"
        counts = {"prompt_tokens": 9, "completion_tokens": len(words), "total_tokens": 9 + len(words)}
        if body.get("stream"):
            return self._stream(body, words, reason, counts)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": " ".join(words)},
            "finish_reason": reason,
        }
        reply: Body = {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
        }
        if "no usage" not in self.plants:
            reply["usage"] = counts
        return _Script(200, {"content-type": "application/json"}, (json.dumps(reply).encode(),))

    def _stream(self, body: Body, words: list[str], reason: str, counts: Body) -> _Script:
        extra: dict[str, Any] = {"usage": counts} if "usage in every chunk" in self.plants else {}
        steps = [
            role(),
            *(chunk({"content": word}, **extra) for word in words),
        ]
        steps.append(finish(reason))
        if (body.get("stream_options") or {}).get("include_usage") and "no usage" not in self.plants:
            steps.append(usage(9, len(words)))
        if "no [DONE]" not in self.plants:
            steps.append(done())
        return _Script(200, {"content-type": "text/event-stream"}, tuple(steps))


@asynccontextmanager
async def running_quirky(plants: Iterable[str]) -> AsyncIterator[QuirkyUpstream]:
    """One on a port of the kernel's choice."""
    upstream = QuirkyUpstream(plants)
    server = await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop(server)
