"""The bill of materials says what the lock says, in CycloneDX's form; nothing runs by being installed."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jsonschema import Draft7Validator

ROOT = Path(__file__).parents[3]
SBOM = ROOT / "docs" / "sbom.cdx.json"

_LICENCES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "oneOf": [
            {"required": ["license"], "properties": {"license": {"required": ["id"]}}},
            {"required": ["expression"]},
        ]
    },
}
_HASH = {
    "required": ["alg", "content"],
    "properties": {"alg": {"const": "SHA-256"}, "content": {"pattern": "^[a-f0-9]{64}$"}},
}
_COMPONENT = {
    "required": ["type", "name", "version", "bom-ref", "licenses"],
    "properties": {
        "type": {"enum": ["application", "library"]},
        "name": {"type": "string", "minLength": 1},
        "purl": {"pattern": "^pkg:pypi/[a-z0-9._-]+@[^@ ]+$"},
        "licenses": _LICENCES,
        "hashes": {"minItems": 1, "items": _HASH},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": [
        "bomFormat",
        "specVersion",
        "serialNumber",
        "version",
        "metadata",
        "components",
        "dependencies",
    ],
    "properties": {
        "bomFormat": {"const": "CycloneDX"},
        "specVersion": {"const": "1.6"},
        "serialNumber": {"pattern": "^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
        "version": {"type": "integer", "minimum": 1},
        "metadata": {"required": ["component"], "properties": {"component": _COMPONENT}},
        "components": {"type": "array", "items": _COMPONENT},
        "dependencies": {"type": "array", "items": {"required": ["ref", "dependsOn"]}},
    },
}
"""What CycloneDX 1.6 requires of the parts that are used, and what is of no use where it is missing."""


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tunegate_sbom", ROOT / "docs" / "sbom.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SBOM.read_text(encoding="utf-8"))
    return found


def test_it_is_up_to_date(sbom: ModuleType) -> None:
    assert SBOM.read_text(encoding="utf-8") == sbom.render(), "python3 dev.py docs"


def test_it_has_the_form_of_cyclonedx(document: dict[str, Any]) -> None:
    Draft7Validator(SCHEMA).validate(document)


def test_it_has_every_locked_package_with_every_hash_and_nothing_else(document: dict[str, Any]) -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")

    assert {f"{each['name']}=={each['version']}" for each in document["components"]} == set(
        re.findall(r"(?m)^[a-z0-9][^ ;\\]*", lock)
    )
    hashes = [each["content"] for component in document["components"] for each in component["hashes"]]
    assert sorted(hashes) == sorted(re.findall(r"sha256:([0-9a-f]{64})", lock))


def test_its_graph_reaches_every_component(document: dict[str, Any]) -> None:
    needs = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    reached: set[str] = set()
    waiting = [document["metadata"]["component"]["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += needs[ref]

    assert reached == set(needs)
    assert reached >= {each["bom-ref"] for each in document["components"]}


def test_it_names_no_address_but_its_schema(document: dict[str, Any]) -> None:
    assert document.pop("$schema")
    assert "://" not in json.dumps(document)


def test_licences_kept_by_hand_are_those_of_packages_that_may_be_missing(sbom: ModuleType) -> None:
    locked = {each.name: each for each in sbom.read_lock(sbom.LOCK.read_text(encoding="utf-8"))}

    assert all(locked[name].marker for name in sbom.ELSEWHERE)
    with pytest.raises(PackageNotFoundError):
        sbom.licences("no-such-package")


# -- what runs by being installed: a line of a `.pth` file that begins with `import` runs in every process

KNOWN = {
    "distutils-precedence.pth": "setuptools",  # of the build backend, which no image holds
    "__editable__.tunegate-*.pth": "tunegate",  # finds this checkout's own modules
}


def code_in(text: str) -> list[str]:
    """The lines of a `.pth` file that run; the others are folders."""
    return [line for line in text.splitlines() if line.startswith(("import ", "import\t"))]


def test_no_package_brings_code_that_runs_by_itself() -> None:
    folder = Path(sysconfig.get_path("purelib"))
    found = [file for file in folder.glob("*.pth") if code_in(file.read_text(encoding="utf-8"))]

    unknown = [file.name for file in found if not any(file.match(pattern) for pattern in KNOWN)]
    assert unknown == []


def test_no_locked_package_runs_at_the_start_of_python(sbom: ModuleType) -> None:
    brought = []
    for package in sbom.read_lock(sbom.LOCK.read_text(encoding="utf-8")):
        if package.name in sbom.ELSEWHERE:
            continue
        files = [file.name for file in distribution(package.name).files or ()]
        brought += [f"{package.name}: {name}" for name in files if is_run_at_start(name)]

    assert brought == []


def is_run_at_start(name: str) -> bool:
    return name.endswith(".pth") or name in {"sitecustomize.py", "usercustomize.py"}


def test_the_wheel_has_the_package_and_its_metadata_only(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "gateway", source / "gateway", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    script = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", script, str(tmp_path)], check=True, cwd=source, capture_output=True, timeout=60
    )

    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"gateway", "tunegate"}
    assert [name for name in names if is_run_at_start(Path(name).name)] == []
    assert "gateway/store/lua/admit.lua" in names


@pytest.mark.parametrize(
    ("text", "runs"),
    [("import os; os.system('x')\n", 1), ("/some/folder\n../other\n", 0), ("# import\nimport\ta\n", 1)],
)
def test_what_counts_as_code(text: str, runs: int) -> None:
    assert len(code_in(text)) == runs
