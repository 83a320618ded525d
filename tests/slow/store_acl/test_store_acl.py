"""All that speaks to a store, once more as the user of `config/store.acl`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SPEAKING = ("cluster", "control", "dataplane", "metering", "usage")


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    "path", [*(f"tests/integration/{name}" for name in SPEAKING), "tests/e2e/test_store_of_several.py"]
)
def test_it_works_as_the_restricted_user(path: str) -> None:
    done = subprocess.run(  # noqa: S603  # our own tests
        [sys.executable, "-m", "pytest", "-q", path],
        check=False,
        cwd=ROOT,
        env={**os.environ, "TEST_STORE_ACL": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1400,
    )
    assert done.returncode == 0, done.stdout[-4000:]
