"""`dev.py run` as a newcomer meets it: a real gateway with the demo upstream, from the one command."""

import itertools
import json
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import pytest

import dev

DEV = Path(dev.__file__)
DEADLINE_S = 30
ANY_PORT = ("--port", "0", "--admin-port", "0")

pytestmark = pytest.mark.skipif(
    not dev.MAIN.is_current(), reason="dev.py would make this environment anew: run it by dev.py test"
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "TUNEGATE_ADMIN_KEY", "TUNEGATE_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `dev.py run` with the data folder of the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        argv = [sys.executable, DEV, "run", *ANY_PORT, "--data", tmp_path / "data", *arguments]
        with (tmp_path / "stderr").open("a") as log:
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True, cwd=tmp_path)  # noqa: S603  # our own command
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def introduced(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout
    return json.loads(process.stdout.readline())


def listens(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname or "", parts.port or 0)) == 0


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def say_hello(shown: dict[str, Any]) -> str:
    with openai.OpenAI(base_url=f"{shown['data_url']}/v1", api_key=shown["virtual_key"]) as client:
        stream = client.chat.completions.create(
            model=shown["model"], messages=[{"role": "user", "content": "Hello"}], stream=True
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


def test_json_prints_one_object_that_works_and_ctrl_c_ends_it(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = start("--json")
    shown = introduced(process)
    assert set(shown) == {"data_url", "admin_url", "admin_key", "virtual_key", "model", "simulated"}
    assert (shown["model"], shown["simulated"]) == ("support", True)
    assert "simulated" in say_hello(shown)
    keys = tmp_path / "data" / "dev-keys.json"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=DEADLINE_S)[0] == ""
    assert process.returncode == 0
    assert not listens(shown["data_url"])
    assert not listens(shown["admin_url"])


def test_what_is_printed_can_be_pasted_and_a_killed_run_leaves_no_gateway_behind(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    kept = {"admin_key": "tg-admin-kept", "virtual_key": "tg-00unknown000-key"}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dev-keys.json").write_text(json.dumps(kept))
    process = start()
    assert process.stdout
    lines = [process.stdout.readline().rstrip("\n") for _ in range(7)]
    said = dict(line.split(": ", 1) for line in lines[:6])
    assert said["admin key"] == "tg-admin-kept"
    assert said["virtual key"] != kept["virtual_key"]  # made anew: no store ever knew the one of the file
    assert said["model"] == "support"
    assert said["upstreams"] == "demo (simulated), openai (disabled)"
    command, _, url, *rest = shlex.split(lines[6])
    assert command == "curl"
    headers = dict(value.split(": ", 1) for flag, value in itertools.pairwise(rest) if flag == "-H")
    with httpx2.stream("POST", url, headers=headers, content=rest[-1], timeout=DEADLINE_S) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert list(answer.iter_lines())[-2:] == ["data: [DONE]", ""]
    process.kill()
    if sys.platform == "linux":  # elsewhere no child is told of its parent's death
        until(lambda: not listens(said["data plane"]) and not listens(said["control plane"]))


def test_check_prints_what_came_and_stops(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("--check")
    text = process.communicate(timeout=DEADLINE_S)[0]
    assert process.returncode == 0, text
    lines = [line.partition(": ") for line in text.splitlines()]
    said = {name: value for name, _, value in lines}
    assert "simulated" in said["text"]
    assert said["served model"].startswith("ft:gpt-4.1-mini-2025-04-14:demo:support:")
    assert said["upstream"] == "demo"
    assert json.loads(said["usage"])["completion_tokens"] > 0
    assert "error" not in said


def test_a_taken_port_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = subprocess.run(  # noqa: S603 - our own script
            [sys.executable, DEV, "run", "--port", port, "--admin-port", "0", "--data", tmp_path],
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"port {port} on 127.0.0.1 is taken")
    assert "--port 0" in done.stderr


def test_a_wrong_file_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("server: {prot: 1}\n")
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, DEV, "run", "--config", "bad.yaml"],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "bad.yaml:1: server.prot" in done.stderr
