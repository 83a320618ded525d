"""What a person at a terminal sees: the real curl, a fine-tuned model's id, an upstream that is a relay."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from relay import USAGE, WORDS, Relay

MODEL = "ft:gpt-4.1-mini-2025-04-14:acme:support:AbC123"
DONE = "data: [DONE]"


@pytest.fixture(scope="module")
def running(gateway: Callable, relay: Relay):
    """A gateway with one upstream: the relay, which owns the fine-tuned models of acme."""
    upstream = {
        "base_url": relay.base_url,
        "api_keys": ["relay-key"],
        "owns": ["acme"],
        "models": ["relay-*"],
    }
    return gateway(json.dumps({"server": {"drain_grace_s": 0}, "upstreams": {"relay": upstream}}))


@pytest.fixture
def curl(running, tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Start `curl -N` with a chat call; response headers go to `headers.txt` in the test's folder."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("no curl here (Debian: apt-get install curl)")

    def start(model: str, *options: str, stream: bool = True) -> "subprocess.Popen[str]":
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Four words."}]}
        command = [program, "-sSN", "-D", str(tmp_path / "headers.txt"), *options]
        command += ["-H", "content-type: application/json", "-H", f"authorization: Bearer {running.key}"]
        command += ["-d", json.dumps(body), f"{running.base_url}/chat/completions"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)  # noqa: S603 - our own command

    return start


def headers_in(folder: Path) -> dict[str, str]:
    """The headers curl wrote down; the status line is under the empty name."""
    status, *lines = (folder / "headers.txt").read_text().strip().splitlines()
    return {"": status} | {
        name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
    }


def events_of(text: str) -> list[str]:
    """The data lines, without comments; every event must be one line and a blank one."""
    blocks = text.split("\n\n")
    assert blocks.pop() == "", "the stream ends with a whole event"
    events = [block for block in blocks if not block.startswith(":")]
    assert all(event.startswith("data: ") and "\n" not in event for event in events), text
    return events


def words_of(events: list[str]) -> list[str]:
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if event != DONE]
    return [chunk["choices"][0]["delta"]["content"] for chunk in chunks if "choices" in chunk]


def test_a_stream_of_a_fine_tuned_model(curl: Callable, relay: Relay, tmp_path: Path, running):
    relay.hold.clear()
    with curl(MODEL) as process:
        first = next(line for line in process.stdout if line.startswith("data: "))
        assert process.poll() is None, "the first word is here while the upstream still holds the second"
        relay.hold.set()
        events = events_of(first + process.stdout.read())
        assert (process.wait(30), process.stderr.read()) == (0, "")
    assert words_of(events) == [*WORDS, ""]
    assert events[-1] == DONE, "the relay sent none"
    assert json.loads(events[-2].removeprefix("data: "))["usage"] == USAGE

    headers = headers_in(tmp_path)
    assert headers[""].split()[1] == "200"
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-tunegate-upstream"] == "relay"
    assert headers["x-tunegate-model"] == MODEL
    assert headers["x-request-id"]

    seen = relay.seen[-1]
    assert seen.path == "/v1/chat/completions"
    assert seen.body["model"] == MODEL
    assert seen.body["stream_options"] == {"include_usage": True}
    assert seen.headers["authorization"] == "Bearer relay-key"
    assert running.key not in str(seen), "the client's key stays with the gateway"


def test_http_1_0_gets_the_same_stream(curl: Callable, relay: Relay, tmp_path: Path):
    with curl(MODEL, "--http1.0") as process:
        events = events_of(process.stdout.read())
        assert process.wait(30) == 0
    assert words_of(events) == [*WORDS, ""]
    assert events[-1] == DONE
    assert "transfer-encoding" not in headers_in(tmp_path)


def test_a_stream_that_breaks_off_says_so(curl: Callable, relay: Relay):
    with curl("relay-cut") as process:
        events = events_of(process.stdout.read())
        assert process.wait(30) == 0, "the chunked body still ends properly"
    assert words_of(events) == list(WORDS[:2])
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "stream_truncated"


def test_a_json_answer(curl: Callable, relay: Relay):
    with curl(MODEL, "--fail-with-body", stream=False) as process:
        answer = json.load(process.stdout)
        assert process.wait(30) == 0
    assert answer["choices"][0]["message"]["content"] == "".join(WORDS)
    assert answer["usage"] == USAGE
