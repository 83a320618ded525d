"""`tunegate serve` as a child: started, waited for, told what we are told."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from gateway.process import parent_death_signal

STOP_WITHIN_S = 20
"""Seconds for a gateway without calls to stop, before it is told again, which ends it at once."""

_READY = re.compile(r"ready data=(\S+) admin=(\S+)")
# A terminal that goes away ends the tour; the gateway itself would read its configuration anew.
_FORWARDED = {
    signal.SIGINT: signal.SIGINT,
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGHUP: signal.SIGTERM,
    signal.SIGUSR1: signal.SIGUSR1,
}


class GatewayProcess:
    """A running `tunegate serve`.

    It is in a process group of its own: Ctrl-C reaches the tour alone, which passes it on once, where a
    second signal would end the gateway at once. On Linux it stops when the tour is killed.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._output: IO[str] = process.stdout or io.StringIO()  # it is piped: never the latter

    @classmethod
    def start(cls, arguments: Sequence[str], env: Mapping[str, str]) -> GatewayProcess:
        """Start it with the arguments of `serve`, and pass signals on from now on."""
        process = subprocess.Popen(
            [Path(sys.executable).with_name("tunegate"), "serve", *arguments],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
            preexec_fn=_stop_with_parent,  # noqa: PLW1509 - no threads run here
        )

        def forward(number: int, _frame: FrameType | None) -> None:
            process.send_signal(_FORWARDED[signal.Signals(number)])

        for number in _FORWARDED:
            signal.signal(number, forward)
        return cls(process)

    def wait_until_ready(self) -> tuple[str, str] | None:
        """The URLs of the data and the control plane; None where the gateway ended before it was ready.

        Whatever else it prints goes to our standard error.
        """
        for line in self._output:
            if found := _READY.search(line):
                return found[1], found[2]
            print(line, end="", file=sys.stderr, flush=True)
        return None

    def wait(self) -> int:
        """Wait for its end. Returns its exit code, 128 + n where signal n killed it."""
        for line in self._output:
            print(line, end="", file=sys.stderr, flush=True)
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    def stop(self) -> int:
        """End it without the grace for load balancers. Returns its exit code."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGINT)
        return self.wait()


def _stop_with_parent() -> None:
    parent_death_signal(signal.SIGINT)
