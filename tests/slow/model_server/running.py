"""The model server as a process of a test, and the field by which a call chooses one of its adapters."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from voices import ADAPTERS

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parents[2] / ".venv-e2e" / "bin" / "python"


def adapters(voice: str) -> list[dict]:
    """The field by which llama.cpp chooses: every adapter's id with its scale."""
    return [{"id": number, "scale": float(name == voice)} for number, name in enumerate(ADAPTERS)]


@contextmanager
def running_model_server(folder: Path) -> Iterator[str]:
    """Serve the tiny model in its own environment; the base URL of its API. Skips where it cannot."""
    if not ENVIRONMENT.exists():
        pytest.skip("no .venv-e2e here: `python3 dev.py e2e` makes it")
    imports = [ENVIRONMENT, "-c", "import gguf, xllamacpp"]
    probe = subprocess.run(imports, capture_output=True, check=False)  # noqa: S603 - our own interpreter
    if probe.returncode != 0:
        pytest.skip("xllamacpp has no wheel for this platform: " + probe.stderr.decode()[-200:])
    with (
        (folder / "server.log").open("w") as log,
        subprocess.Popen(  # noqa: S603 - our own script
            [ENVIRONMENT, HERE / "server.py", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        ) as process,
    ):
        line = process.stdout.readline()
        if not line:
            pytest.fail("the model server ended:\n" + (folder / "server.log").read_text()[-4000:])
        yield f"http://127.0.0.1:{json.loads(line)['port']}/v1"
        process.stdin.close()
        assert process.wait(30) == 0
