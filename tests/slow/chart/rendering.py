"""What Helm makes of values, asked of the environment that has Helm."""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "tunegate"
CI = CHART / "ci"
ENVIRONMENT = ROOT / ".venv-e2e" / "bin" / "python"
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """What one set of values gave: manifests and what was said of them, or why there are none."""

    error: str = ""
    lint: dict[str, Any] = field(default_factory=dict)
    manifests: list[Manifest] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    def all(self, *kinds: str) -> list[Manifest]:
        """The manifests of these kinds."""
        return [each for each in self.manifests if each["kind"] in kinds]

    def one(self, kind: str) -> Manifest:
        """The only one of its kind."""
        (found,) = self.all(kind)
        return found

    def named(self, kind: str, name: str) -> Manifest:
        """The one of this name."""
        return next(each for each in self.all(kind) if each["metadata"]["name"] == name)

    @property
    def gateway(self) -> Manifest:
        """The workload that runs gateways."""
        workloads = self.all("Deployment", "StatefulSet")
        return next(
            w for w in workloads if w["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway"
        )

    @property
    def config(self) -> dict[str, Any]:
        """The gateway's file."""
        config: dict[str, Any] = yaml.safe_load(self.one("ConfigMap")["data"]["gateway.yaml"])
        return config


def render(values: dict[str, dict[str, Any]]) -> dict[str, Rendered]:
    """Render each set of values; the test is skipped where Helm is not."""
    if not ENVIRONMENT.exists():
        pytest.skip("no .venv-e2e here: `python3 dev.py e2e` makes it")
    imports = [ENVIRONMENT, "-c", "import helm_python, kubernetes_validate"]
    probe = subprocess.run(imports, capture_output=True, check=False)  # noqa: S603 - our own interpreter
    if probe.returncode:
        pytest.skip("helm-python-sdk has no wheel for this platform: " + probe.stderr.decode()[-200:])
    done = subprocess.run(  # noqa: S603 - our own script
        [ENVIRONMENT, Path(__file__).parent / "render.py", CHART],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {name: Rendered(**result) for name, result in json.loads(done.stdout).items()}
