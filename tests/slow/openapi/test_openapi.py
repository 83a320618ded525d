"""Schemathesis calls every operation of both OpenAPI documents with what they allow and what they do not.

No answer may be a server error, and the log stays free of them. Names that a document leaves open, of
models or keys, are mostly such as exist: else nearly all answers would be 404.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
DOCUMENTS = Path(__file__).parents[3] / "docs" / "openapi"
EXAMPLES = 40
UNKNOWN = "nobody-knows-this"
WITHIN_S = 240
CONFIG = {
    "server": {"drain_grace_s": 0},
    "upstreams": {"demo": {"kind": "demo", "owns": ["demo"]}},
    "aliases": {"support": {"model": "ft:gpt-4.1-mini-2025-04-14:demo:support:D3m0Aa01"}},
    "limits": {"default": {"rpm": None, "tpm": None, "concurrency": None}},
}
CALLS = {
    "model": ["support", UNKNOWN],
    "id": ["support", UNKNOWN],
    "messages": [[{"role": "user", "content": "hi"}]],
    "x-tunegate-upstream": ["demo"],
    "x-tunegate-cache": ["no-cache"],
    "x-tunegate-fallback": ["never"],
    "x-tunegate-timeout-s": [30],
}
"""What a call needs to get far: the demo upstream wants more of `messages` than the document, and a call that
has no time gets a 504, as it should.
"""


@pytest.fixture(scope="module")
def running(gateway: Callable[[str], Any]) -> Any:
    return gateway(yaml.safe_dump(CONFIG))


def attack(document: dict[str, Any], url: str, key: str, folder: Path) -> str:
    """Run Schemathesis; returns what it printed. Fails where it found a server error."""
    file = folder / "openapi.json"
    file.write_text(json.dumps(document))
    options = {
        "--url": url,
        "--header": f"authorization: Bearer {key}",
        "--checks": "not_a_server_error",
        "--phases": "examples,coverage,fuzzing",
        "--max-examples": str(EXAMPLES),
        "--seed": "1",
        "--suppress-health-check": "all",
        "--generation-database": "none",
        "--request-timeout": "10",
        "--warnings": "off",
    }
    arguments = [part for option in options.items() for part in option]
    done = subprocess.run(  # noqa: S603  # from our own environment
        [SCHEMATHESIS, "run", file, *arguments, "--continue-on-failure", "--no-color"],
        check=False,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


def calls_in(output: str) -> int:
    """How many calls Schemathesis says that it made."""
    found = re.search(r"(\d+) generated", output)
    assert found, output[-2000:]
    return int(found[1])


def with_names(document: dict[str, Any], names: dict[str, list[str]]) -> dict[str, Any]:
    """The document, with fields and parameters of these names bound to these values."""
    for parameter in _all_of(document, lambda each: "in" in each and "schema" in each):
        if known := names.get(parameter["name"]):
            parameter["schema"] = {"enum": known}
    for schema in _all_of(document, lambda each: isinstance(each.get("properties"), dict)):
        for name in names.keys() & schema["properties"].keys():
            schema["properties"][name] = {"enum": names[name]}
    return document


def _all_of(value: Any, is_so: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [each for child in children for each in _all_of(child, is_so)]
    return [value, *found] if isinstance(value, dict) and is_so(value) else found


@pytest.mark.timeout(WITHIN_S + 30)
def test_the_data_plane_has_no_server_error(running: Any, tmp_path: Path) -> None:
    document = json.loads((DOCUMENTS / "data.json").read_text())

    output = attack(
        with_names(document, CALLS),
        running.data_url,
        running.new_key(may_pin=True),
        tmp_path,
    )

    assert calls_in(output) > EXAMPLES * 8


@pytest.mark.timeout(WITHIN_S + 30)
def test_the_control_plane_has_no_server_error(running: Any, tmp_path: Path) -> None:
    document = json.loads((DOCUMENTS / "control.json").read_text())
    ids = [running.admin("POST", "/admin/v1/keys", {"name": f"target {n}"})["id"] for n in range(20)]
    names = {
        "id": [*ids, UNKNOWN],
        "name": ["support", "new", UNKNOWN],
        "model": ["support", UNKNOWN],
        "key": [*ids, UNKNOWN],
    }

    output = attack(with_names(document, names), running.admin_url, running.admin_key, tmp_path)

    assert calls_in(output) > EXAMPLES * 15
