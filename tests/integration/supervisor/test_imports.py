"""What each process loads before it serves: its start is little else."""

import subprocess
import sys

import pytest

from tests.integration.supervisor.gateway_run import ROOT

TELL = """
import sys
from gateway.process import import_quickly
before = set(sys.modules)
import_quickly(*{without})
import {module}
print(*(name for name, module in sys.modules.items() if module and name not in before))
"""

OWN = {"gateway", "annotated_types", "msgspec", "pydantic", "pydantic_core", "typing_extensions", "yaml"}
OWN |= {"typing_inspection", "cython_runtime", "click"}
SERVES = {"hiredis", "httptools", "structlog", "uvicorn"}
CALLS = {"genai_prices", "httpx2", "idna", "uvloop"}
ADMINISTERS = {
    "annotated_doc",
    "anyio",
    "fastapi",
    "opentelemetry",
    "prometheus_client",
    "sniffio",
    "starlette",
}

WITHOUT = ("rich", "pydantic.v1")

PROCESSES = {
    # entry: (packages that it may load, how many modules at most)
    "gateway.cli.serve": (OWN, 212),
    "gateway.supervisor.main": ({"gateway"}, 28),
    "gateway.worker.process": (OWN | SERVES | CALLS, 505),
    "gateway.control.process": (OWN | SERVES | ADMINISTERS, 592),
}


@pytest.mark.parametrize("module", PROCESSES)
def test_a_process_loads_only_what_it_needs_to_start(module: str) -> None:
    script = [sys.executable, "-c", TELL.format(module=module, without=WITHOUT)]
    told = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603  # our own
    loaded = told.stdout.split()
    packages, most = PROCESSES[module]

    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - packages
    assert {name for name in foreign if not name.startswith("_")} == set()
    assert len(loaded) <= most, f"{len(loaded)} modules"
