"""Where the interpreter of the provider process is. It has litellm; the gateway's own has not."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "TUNEGATE_PROVIDERS_PYTHON"

ABSENT = (
    "kind litellm needs an environment of its own, made by: python3 dev.py providers "
    f"(or name an interpreter that has litellm in {VARIABLE})"
)


def providers_python(env: Mapping[str, str], prefix: str = sys.prefix) -> Path | None:
    """The interpreter of the provider process, or None where there is none that can be run.

    It is the one that `TUNEGATE_PROVIDERS_PYTHON` names, else that of `.venv-providers` beside the
    environment (`prefix`) that the gateway itself runs in.
    """
    named = env.get(VARIABLE)
    python = Path(named) if named else Path(prefix).parent / ".venv-providers" / "bin" / "python"
    return python.absolute() if python.is_file() and os.access(python, os.X_OK) else None
