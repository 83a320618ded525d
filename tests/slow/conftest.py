"""The slow tier: a real `tunegate serve`, driven from outside by real programs.

Everything below `tests/slow` carries the marker `slow`, so `dev.py test` leaves it out and `dev.py e2e`
runs it. A test that needs a program which this machine lacks is skipped, with the reason printed.
"""

import json
import os
import queue
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from relay import Relay

TUNEGATE = Path(sys.executable).parent / "tunegate"
READY = re.compile(r"ready data=(\S+) admin=(\S+)")
START_DEADLINE_S = 30
STOP_DEADLINE_S = 30


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.slow)


@dataclass
class Gateway:
    """A running gateway: where it listens, and the keys to it."""

    process: subprocess.Popen[str]
    data_url: str
    admin_url: str
    admin_key: str
    log: Path
    key: str = field(default="", init=False)

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as `base_url`."""
        return f"{self.data_url}/v1"

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Call the admin API and return its JSON answer."""
        request = urllib.request.Request(  # noqa: S310 - the URL is the gateway's own ready line
            self.admin_url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json", "authorization": f"Bearer {self.admin_key}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            return json.load(answer)

    def new_key(self, **fields: Any) -> str:
        """Make a virtual key; without `fields` one that may use everything."""
        return self.admin("POST", "/admin/v1/keys", {"name": "slow tier", **fields})["key"]

    def complaints(self) -> list[str]:
        """Lines of its log that report an error, or that are no log lines at all, as a traceback's are."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if _level_of(line) not in {"debug", "info", "warning"}]

    def stop(self) -> int:
        """Drain by SIGTERM and return the exit status; whatever survives that is killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_DEADLINE_S)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def _level_of(line: str) -> str | None:
    try:
        return json.loads(line)["level"]
    except (ValueError, LookupError, TypeError):
        return None


def _start(folder: Path, config: str) -> Gateway:
    """Start `tunegate serve` with `config` in `folder`; its store and log live there too."""
    file = folder / "gateway.yaml"
    file.write_text(config)
    admin_key = secrets.token_hex(16)
    path = folder / "gateway.log"
    with path.open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [TUNEGATE, "serve", "--config", file, "--port", "0", "--admin-port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "TUNEGATE_ADMIN_KEY": admin_key},
            start_new_session=True,
        )
    lines = _lines_of(process)
    said = []
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if line is None:
            break
        said.append(line)
        if found := READY.search(line):
            return Gateway(process, found[1], found[2], admin_key, path)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    status = process.wait()
    pytest.fail(
        f"tunegate serve did not get ready (exit status {status}):\n"
        + "".join(said)
        + path.read_text()[-4000:]
    )


def _lines_of(process: subprocess.Popen[str]) -> "queue.Queue[str | None]":
    """Read standard output to its end in a thread, so that the gateway never blocks on a full pipe."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Gateway]]:
    """Start gateways: `gateway(config_text)` returns one that is ready; all drain after the module."""
    running: list[Gateway] = []

    def start(config: str) -> Gateway:
        gateway = _start(tmp_path_factory.mktemp("gateway"), config)
        running.append(gateway)  # first of all, so that it is stopped whatever comes
        gateway.key = gateway.new_key()
        return gateway

    yield start
    statuses = [each.stop() for each in running]
    assert statuses == [0] * len(running), f"SIGTERM ended gateways with {statuses}"
    complaints = [line for each in running for line in each.complaints()]
    assert not complaints, "\n".join(complaints)


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    """Serve the relay-like upstream of `relay.py`."""
    with Relay() as relay:
        yield relay
