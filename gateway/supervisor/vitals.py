"""What tells how a living process is: its heartbeat, the memory it takes, the files it has open."""

from __future__ import annotations

import os
from dataclasses import dataclass


class Pulse:
    """For how long a child has not told that its event loop turns."""

    def __init__(self) -> None:
        self.silent_s: float | None = None
        """Seconds; None: it never told, so its silence means nothing."""

    def beat(self) -> None:
        """It told."""
        self.silent_s = 0.0

    def passed(self, seconds: float) -> None:
        """So much time went by. It begins anew with each beat."""
        if self.silent_s is not None:
            self.silent_s += seconds


@dataclass(frozen=True)
class Ceilings:
    """What a worker may take; None = as much as it likes. Where there is no `/proc`, nothing is ever over.

    Args:
        memory_bytes: resident and swapped.
        open_files: sockets included.
    """

    memory_bytes: int | None
    open_files: int | None

    def over(self, pid: int) -> tuple[str, int, int] | None:
        """(`memory` or `open_files`, what it takes, what it may) of a process that is over, else None."""
        status = _status(pid)
        memory_bytes = (status.get("VmRSS", 0) + status.get("VmSwap", 0)) * 1024
        if self.memory_bytes is not None and memory_bytes > self.memory_bytes:
            return "memory", memory_bytes, self.memory_bytes
        # The size of its table bounds what is in it, and costs nothing; counting thousands does.
        if self.open_files is not None and status.get("FDSize", 0) > self.open_files:
            open_files = _open_files(pid)
            if open_files > self.open_files:
                return "open_files", open_files, self.open_files
        return None


def _status(pid: int) -> dict[str, int]:
    """The numbers of `/proc/<pid>/status` (proc_pid_status(5)), sizes in KiB; {} where there is none."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  # each second
            lines = file.read().splitlines()
    except OSError:  # it ended meanwhile, or no Linux
        return {}
    numbers = {}
    for line in lines:
        name, _, value = line.partition(":")
        first = value.split(maxsplit=1)[:1]
        if name in ("VmRSS", "VmSwap", "FDSize") and first and first[0].isdigit():
            numbers[name] = int(first[0])
    return numbers


def _open_files(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  # names alone are wanted
    except OSError:
        return 0
