import json
from typing import Any

import pytest

from gateway.demo.tour.streamed_call import StreamedCall, streamed_call
from tests.unit.demo.tour.conftest import Played

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def chunk(text: str, **more: Any) -> bytes:
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": None}] if text else []
    return event(
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    )


WHOLE = chunk("Hel") + chunk("lo") + chunk("", usage=USAGE)
DONE = event(b"[DONE]")


def test_a_whole_stream_is_complete(played: Played) -> None:
    played.answers["POST /v1/chat/completions"] = (200, WHOLE + DONE)
    call = streamed_call(played.url, "tg-key", "support")
    assert call == StreamedCall("Hello", "m-1", "demo", USAGE, done=True)
    assert call.is_complete
    *lines, usage = call.as_text().splitlines()
    assert lines == ["text: Hello", "served model: m-1", "upstream: demo"]
    assert json.loads(usage.removeprefix("usage: ")) == USAGE
    ((_, key, body),) = played.calls
    assert key == "Bearer tg-key"
    assert (body["model"], body["stream_options"]) == ("support", {"include_usage": True})


@pytest.mark.parametrize(
    "stream",
    [WHOLE, chunk("Hello") + DONE, chunk("", usage=USAGE) + DONE, WHOLE + event({"error": {"message": "x"}})],
    ids=["no-done", "no-usage", "no-text", "error"],
)
def test_anything_less_is_not(played: Played, stream: bytes) -> None:
    played.answers["POST /v1/chat/completions"] = (200, stream)
    assert not streamed_call(played.url, "tg-key", "support").is_complete


def test_an_error_is_told(played: Played) -> None:
    played.answers["POST /v1/chat/completions"] = (403, {"error": {"message": "not for you"}})
    call = streamed_call(played.url, "tg-key", "support")
    assert not call.is_complete
    assert "error: Error code: 403 - not for you" in call.as_text()
