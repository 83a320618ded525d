"""What every child of the supervisor does first: read its argv, tie its life to its parent's, report.

Standard library only. An entry point with many imports calls `import_quickly` before them. Then it calls
`parse_child_args` and `die_with_parent`, opens what it serves, and calls `watch_lifeline` and `report_ready`,
which also keeps telling that its event loop turns.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

BEAT_EVERY_S = 1.0


@dataclass(frozen=True)
class ChildArgs:
    """What the supervisor tells a child: where to work, and the file descriptors it inherits.

    Args:
        runtime: the directory of this gateway's run (`active.yaml`, `control.sock`).
        ready_fd: write end of a pipe, for `report_ready`.
        lifeline_fd: read end of a pipe that ends when the supervisor dies.
        listen_fd: a bound, listening, non-blocking TCP socket; None for a child that has none.
        config_path: the configuration file as the operator named it, absolute.
        index: which worker of the pool, from 0.
        because: why it is started: "start", or why the one before it is replaced.
        socket: path of a unix socket the child makes itself (the demo upstream).
    """

    runtime: Path
    ready_fd: int
    lifeline_fd: int
    listen_fd: int | None = None
    config_path: Path | None = None
    index: int = 0
    because: str = "start"
    socket: str | None = None


def import_quickly(*without: str) -> None:
    """Make the imports that follow take less. Once all is there, call `collect_from_now_on`.

    Args:
        without: modules that packages of ours load where they find them, and that nobody here needs.
    """
    gc.disable()  # nothing of it is garbage, and looking through it took an eighth of the time
    for name in without:
        sys.modules[name] = None  # type: ignore[assignment]  # not to be found


def collect_from_now_on() -> None:
    """Let the collector of cycles begin, and pass over what is there for ever."""
    gc.freeze()
    gc.enable()


def parse_child_args(argv: list[str] | None = None) -> ChildArgs:
    """Read a child's command line (`sys.argv` by default). Exits with 2 when it cannot be read."""
    parser = argparse.ArgumentParser(description="A part of Tunegate; started by `tunegate serve`.")
    parser.add_argument("--runtime", type=Path, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--lifeline-fd", type=int, required=True)
    parser.add_argument("--listen-fd", type=int)
    parser.add_argument("--config-path", type=Path)
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--because", default="start")
    parser.add_argument("--socket")
    return ChildArgs(**vars(parser.parse_args(argv)))


def parent_death_signal(number: int) -> None:
    """Ask the kernel to send this process a signal when its parent dies. Does nothing but on Linux.

    The request survives `exec` and is not inherited by children (prctl(2)).
    """
    if sys.platform == "linux" and _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def die_with_parent() -> None:
    """Be killed when the supervisor dies, at the latest when `watch_lifeline` sees it."""
    parent = os.getppid()
    parent_death_signal(signal.SIGKILL)
    if os.getppid() != parent:  # it died between the two lines, so no signal will come
        os._exit(1)


def report_ready(
    args: ChildArgs, notes: Sequence[str] = (), *, heart: asyncio.AbstractEventLoop | None = None
) -> None:
    """Tell the supervisor that this child serves; it prints `notes`, one line each. Call it once.

    Args:
        heart: tells each second from this loop that it turns. The supervisor ends whoever once did so and
            is silent for too long.
    """
    lines = [f"note: {' '.join(note.splitlines())}\n" for note in notes]
    with os.fdopen(args.ready_fd, "w", encoding="utf-8", closefd=heart is None) as pipe:
        pipe.writelines([*lines, "ready\n"])
    if heart is not None:
        os.set_blocking(args.ready_fd, False)
        _beat(heart, args.ready_fd)


def _beat(heart: asyncio.AbstractEventLoop, pipe: int) -> None:
    # A full pipe: the supervisor is frozen, and reads the older beats first. A broken one: it is gone, and
    # the lifeline says so.
    with contextlib.suppress(OSError):
        os.write(pipe, b"alive\n")
    heart.call_later(BEAT_EVERY_S, _beat, heart, pipe)


def listen(path: str) -> socket.socket:
    """For a child that makes its socket itself: a unix socket of mode 600, in place of its predecessor's."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - a socket's path stays the text it is
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, 0o600)  # noqa: PTH101 - as above
    listener.listen(1024)
    return listener


def watch_lifeline(loop: asyncio.AbstractEventLoop, args: ChildArgs, on_eof: Callable[[], None]) -> None:
    """Call `on_eof` once from `loop` when the supervisor is gone, also if it was gone before this call."""

    def readable() -> None:
        if os.read(args.lifeline_fd, 1):
            return  # nobody writes here; only the end means something
        loop.remove_reader(args.lifeline_fd)
        on_eof()

    loop.add_reader(args.lifeline_fd, readable)


# Loaded once, at import: the supervisor calls it between fork and exec, where loading would not be safe.
_LIBC = ctypes.CDLL(None, use_errno=True)
