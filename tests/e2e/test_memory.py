"""What the processes of a gateway load, and what they take."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import config_with
from tests.e2e.gateway_process import running_gateway
from tests.support.fake_upstream import FakeUpstream

HEAVY = ("fastapi", "starlette", "litellm", "openai", "gateway.control", "gateway.cli", "gateway.demo")
"""Of no use to a call; some take seconds to load and a hundred megabytes."""

WORKER_MIB = 90
SUPERVISOR_MIB = 30


def loaded_by(statement: str) -> set[str]:
    """The modules that a Python has loaded after `statement`."""
    script = f"import json, sys; {statement}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)  # noqa: S603  # our own script
    return set(json.loads(done.stdout))


def test_a_worker_loads_nothing_of_the_control_plane() -> None:
    loaded = loaded_by("import gateway.worker.process")

    assert {"gateway.pipeline", "gateway.edge.app", "gateway.store.client"} <= loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_the_supervisor_loads_nothing_but_the_standard_library() -> None:
    loaded = loaded_by("import gateway.supervisor.main") - loaded_by("pass")

    foreign = {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names}
    assert {name for name in foreign if not name.startswith("gateway.supervisor")} == {
        "gateway",
        "gateway.process",
    }


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc, of Linux")
def test_memory_of_running_processes(fake: FakeUpstream) -> None:
    with running_gateway(config_with(fake)) as gateway:  # a fresh one: no call has made it count tokens yet
        key = gateway.new_key()
        with gateway.each_worker() as workers:
            assert {worker.chat(key, "acme").status_code for worker in workers} == {200}

        for name in ("worker-0", "worker-1"):
            assert resident_mib(gateway.pid(name)) < WORKER_MIB
        assert resident_mib(gateway.process.pid) < SUPERVISOR_MIB


def resident_mib(pid: int) -> float:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024
