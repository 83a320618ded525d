"""A worker that may open few files: it refuses what it cannot serve, stays calm, and recovers."""

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from gateway.edge.protocol import SPARE_CONNECTIONS
from gateway.worker.process import connections_for
from tests.e2e.conftest import config_with
from tests.e2e.gateway_process import GatewayProcess, running_gateway, wait_until
from tests.support.fake_upstream import FakeUpstream

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the bound of a running process is set by prlimit, of Linux"
)

FILES = 200
ONE_WORKER = {"workers": 1, "drain_grace_s": 0.1, "drain_timeout_s": 5}


@pytest.fixture(scope="module")
def single(fake: FakeUpstream) -> Iterator[GatewayProcess]:
    with running_gateway(config_with(fake, server=ONE_WORKER)) as gateway:
        yield gateway
        assert gateway.stop() == 0
        assert gateway.logged("a request failed") == []


def allow(pid: int, files: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, files))


def open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def many_connections(gateway: GatewayProcess, count: int) -> Iterator[list[socket.socket]]:
    """Connections that say nothing."""
    where = urlsplit(gateway.data_url)
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection((where.hostname, where.port), 5))
            for _ in range(count)
        ]


def chat(gateway: GatewayProcess, key: str) -> httpx2.Response:
    body = {"model": "support", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    with httpx2.Client(timeout=10, trust_env=False) as http:
        headers = {"authorization": f"Bearer {key}"}
        return http.post(gateway.base_url + "/chat/completions", json=body, headers=headers)


def test_without_a_free_file_it_neither_dies_nor_spins(single: GatewayProcess) -> None:
    key = single.new_key()
    assert chat(single, key).status_code == 200
    pid = single.pid("worker-0")
    granted = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    soft = open_files(pid) + 3
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, granted[1]))

    with many_connections(single, 40) as connections:
        wait_until(lambda: sum(is_closed(each) for each in connections) >= 30, "the refusals")
        before = cpu_s(pid)
        time.sleep(1)
        assert cpu_s(pid) - before < 0.3

    resource.prlimit(pid, resource.RLIMIT_NOFILE, granted)
    wait_until(lambda: chat(single, key).status_code == 200, "a served call")
    assert single.pid("worker-0") == pid


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_worker_takes_as_many_connections_as_its_files_suffice_for(single: GatewayProcess) -> None:
    key = single.new_key()
    fit = connections_for(FILES)
    allow(single.process.pid, FILES)  # workers to come inherit it
    old = single.pid("worker-0")
    single.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: single.pid("worker-0") != old, "another worker", within_s=20)
    wait_until(lambda: old not in single.alive(), "the end of the old one", within_s=20)
    pid = single.pid("worker-0")
    warning = single.logged("few open files: fewer connections")[-1]
    assert (warning["open_files"], warning["max_connections"]) == (FILES, fit)

    with many_connections(single, fit) as idle:
        refused = chat(single, key)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "gateway_overloaded")
        assert refused.headers["retry-after"] == "1"
        with httpx2.Client(timeout=10, trust_env=False) as http:
            assert http.get(single.data_url + "/healthz").status_code == 200
        with many_connections(single, SPARE_CONNECTIONS + 20) as surplus:
            wait_until(lambda: sum(is_closed(each) for each in surplus) >= 20, "the refusals")
            assert open_files(pid) < FILES - fit + 5
        assert not any(is_closed(each) for each in idle)

    wait_until(lambda: chat(single, key).status_code == 200, "a served call")
