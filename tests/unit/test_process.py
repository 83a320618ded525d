import asyncio
import os
from pathlib import Path

import pytest

from gateway import process
from gateway.process import ChildArgs, parse_child_args, report_ready, watch_lifeline
from tests.support.polling import until

LEAST = ["--runtime", "/run/x", "--ready-fd", "3", "--lifeline-fd", "4"]


def test_the_least_a_child_is_told() -> None:
    assert parse_child_args(LEAST) == ChildArgs(Path("/run/x"), ready_fd=3, lifeline_fd=4)


def test_all_a_child_is_told() -> None:
    rest = [
        "--listen-fd",
        "5",
        "--config-path",
        "/etc/g.yaml",
        "--index",
        "2",
        "--because",
        "died",
        "--socket",
        "/run/x/demo.sock",
    ]
    assert parse_child_args([*LEAST, *rest]) == ChildArgs(
        runtime=Path("/run/x"),
        ready_fd=3,
        lifeline_fd=4,
        listen_fd=5,
        config_path=Path("/etc/g.yaml"),
        index=2,
        because="died",
        socket="/run/x/demo.sock",
    )


def test_a_command_line_of_someone_else_is_refused() -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_child_args(["--verbose"])


def test_readiness_is_one_line_after_the_notes_and_closes_the_pipe() -> None:
    reader, writer = os.pipe()
    args = ChildArgs(Path(), ready_fd=writer, lifeline_fd=-1)
    report_ready(args, ["admin key: ä", "two\nlines"])
    with os.fdopen(reader, encoding="utf-8") as pipe:
        assert pipe.read() == "note: admin key: ä\nnote: two lines\nready\n"


async def test_a_heart_beats_on_after_readiness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "BEAT_EVERY_S", 0)
    reader, writer = os.pipe()
    loop = asyncio.new_event_loop()
    report_ready(ChildArgs(Path(), ready_fd=writer, lifeline_fd=-1), heart=loop)
    assert os.read(reader, 4096) == b"ready\nalive\n"
    await asyncio.to_thread(_turn, loop)
    assert os.read(reader, 4096) == b"alive\n"
    os.close(reader)
    await asyncio.to_thread(_turn, loop)  # nobody reads: no reason to fail
    os.close(writer)
    loop.close()


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


async def test_the_end_of_the_lifeline_is_told_once() -> None:
    reader, writer = os.pipe()
    told: list[bool] = []
    watch_lifeline(
        asyncio.get_running_loop(),
        ChildArgs(Path(), ready_fd=-1, lifeline_fd=reader),
        lambda: told.append(True),
    )
    os.write(writer, b"x")  # not the end
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not told
    os.close(writer)
    await until(lambda: told)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert told == [True]
    os.close(reader)
