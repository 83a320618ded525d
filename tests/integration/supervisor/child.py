"""A child of the supervisor reduced to what the supervisor sees of one: it starts, is ready, serves, ends.

It greets every connection on its socket with its name and pid, and keeps it open as long as the peer does.
A `hog` takes that many bytes with its first connection, a `hoarder` opens that many files.
What happens to it stands in `<runtime>/events`, one line each; `<runtime>/behaviour.json` may ask it, by
name, to behave badly.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

from gateway.process import die_with_parent, parse_child_args, report_ready, watch_lifeline

ARGS = parse_child_args()
NAME = (
    Path(ARGS.socket).stem if ARGS.socket else f"worker-{ARGS.index}" if "--index" in sys.argv else "control"
)
TAKEN: list[object] = []
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)


def note(event: str) -> None:
    with (ARGS.runtime / "events").open("a") as events:
        events.write(f"{NAME} {os.getpid()} {event}\n")


def behaviour() -> dict[str, object]:
    path = ARGS.runtime / "behaviour.json"
    return json.loads(path.read_text()).get(NAME, {}) if path.exists() else {}


def take() -> None:
    if not TAKEN:
        TAKEN.append(b"x" * int(str(behaviour().get("hog", 0))))
        TAKEN.extend(open("/dev/null") for _ in range(int(str(behaviour().get("hoarder", 0)))))  # noqa: PTH123, SIM115  # for ever


async def main() -> None:
    loop = asyncio.get_running_loop()
    leave = asyncio.Event()
    streams: set[asyncio.Task[None]] = set()
    hears_nothing = behaviour().get("hears_nothing")

    def got(number: signal.Signals) -> None:
        note(number.name)
        if number != signal.SIGHUP and not hears_nothing:
            leave.set()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        streams.add(task)
        task.add_done_callback(streams.discard)
        writer.write(f"{NAME} {os.getpid()}\n".encode())
        take()
        await reader.read()
        writer.write(b"bye\n")
        await writer.drain()
        writer.close()

    for number in SIGNALS:
        loop.add_signal_handler(number, got, number)
    watch_lifeline(loop, ARGS, lambda: os._exit(1))
    server = None
    if ARGS.socket is not None:
        server = await asyncio.start_unix_server(greet, ARGS.socket)
    elif ARGS.listen_fd is not None:
        server = await asyncio.start_server(greet, sock=socket.socket(fileno=ARGS.listen_fd))
    if ARGS.because != "start":
        note(f"because:{ARGS.because}")
    note("ready")
    report_ready(ARGS, behaviour().get("notes", []), heart=loop)  # type: ignore[arg-type]  # strings, by our tests
    await leave.wait()
    if server is not None:
        server.close()
    if streams and behaviour().get("finishes_streams"):
        await asyncio.wait(streams)
    note("leaves")


die_with_parent()
note("starts")
if (code := behaviour().get("exits")) is not None:
    sys.stderr.write(f"{NAME} has its reasons\n")
    sys.exit(int(str(code)))
if behaviour().get("hangs"):
    signal.pause()
asyncio.run(main())
