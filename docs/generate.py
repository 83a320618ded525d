"""Writes what is generated from the code: `python3 dev.py docs`. With `--check` it says what is out of date.

Each file comes from a `render() -> str` beside what it describes.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GENERATED = {
    "config/gateway.schema.json": "gateway.config.schema",
    "docs/configuration.md": "gateway.config.docs",
    "docs/metrics.md": "gateway.telemetry.docs",
    "docs/openapi/control.json": "gateway.control.openapi",
    "docs/prices.md": "gateway.pricing.docs",
    "docs/sbom.cdx.json": "sbom",
}

BLOCKS = {"docs/upstreams.md": "tests.support.conformance.table", "docs/scaling.md": "bench.growth"}
"""Pages of which parts are generated: `blocks() -> dict[str, str]`, each between two comments of its name."""


def with_block(text: str, name: str, block: str) -> str:
    """The page with `block` between its two comments. Raises ValueError where they are not there."""
    begin, end = text.index(f"<!-- {name}:"), text.index(f"<!-- {name} ends -->")
    head = text[: text.index("-->", begin) + len("-->")]
    return f"{head}\n\n{block.strip()}\n\n{text[end:]}"


def outdated(generated: Mapping[str, str], root: Path) -> dict[Path, str]:
    """The files that differ from what their module renders, with the text they should have."""
    found: dict[Path, str] = {}
    for name, module in generated.items():
        path, text = root / name, importlib.import_module(module).render()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            found[path] = text
    return found


def outdated_blocks(root: Path) -> dict[Path, str]:
    """The same for pages that are generated in part."""
    found: dict[Path, str] = {}
    for page, module in BLOCKS.items():
        path = root / page
        text = fresh = path.read_text(encoding="utf-8")
        for name, block in importlib.import_module(module).blocks().items():
            fresh = with_block(fresh, name, block)
        if fresh != text:
            found[path] = fresh
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check. Returns the exit code: 1 where a check found something."""
    parser = argparse.ArgumentParser(prog="dev.py docs", description="Write the generated files.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if one is out of date"
    )
    check = parser.parse_args(argv).check
    sys.path.insert(0, str(ROOT))  # for what tests say of themselves
    changed = outdated(GENERATED, ROOT) | outdated_blocks(ROOT)
    for path, text in changed.items():
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)} {'is out of date: python3 dev.py docs' if check else 'written'}")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
