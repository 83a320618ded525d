"""The provider process. The supervisor runs this file by its path, with another interpreter than its own.

That interpreter knows nothing of the gateway, and must not: beside the gateway lie packages of other
versions. So only the package this file belongs to is made known, by its folder.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def _make_known() -> None:
    """Let `gateway` be imported from where this file lies, and nothing else from there."""
    folder = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location(
        "gateway", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise SystemExit(f"{folder} is no package")
    module = importlib.util.module_from_spec(spec)
    sys.modules["gateway"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    _make_known()
    from gateway.providers.main import main  # only now is it there

    main()
