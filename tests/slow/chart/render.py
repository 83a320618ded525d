"""Render the chart by Helm itself and hold each manifest to Kubernetes' schemas. Runs in .venv-e2e.

    python render.py CHART < {"name": {values}} > {"name": {"error", "lint", "manifests", "problems"}}

`problems` maps a manifest to what is wrong with it, for the oldest Kubernetes that the chart allows and the
newest that is known here; kinds that Kubernetes does not define itself have none.
"""

import json
import re
import sys
from typing import Any

import kubernetes_validate
import yaml
from helm_python import HelmError
from helm_python.chart import Chart, lint


def versions(metadata: dict[str, Any]) -> list[str]:
    """The oldest and the newest Kubernetes to hold manifests to."""
    oldest = re.search(r"\d+\.\d+", metadata["kubeVersion"])
    assert oldest
    return [oldest[0], kubernetes_validate.latest_version()]


def problem(manifest: dict[str, Any], version: str) -> str | None:
    """What Kubernetes would say of a manifest; None where nothing."""
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{version}: {'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError:
        if "monitoring.coreos.com" not in manifest["apiVersion"]:
            return f"{version}: unknown kind"
    return None


def main() -> None:
    """Render each set of values."""
    folder = sys.argv[1]
    results: dict[str, dict[str, Any]] = {}
    with Chart.load(folder) as chart:
        for name, values in json.load(sys.stdin).items():
            try:
                files = chart.render(values, name="gw", namespace="llm")
            except HelmError as error:
                results[name] = {"error": str(error)}
                continue
            manifests = [
                manifest
                for path, text in sorted(files.items())
                if path.endswith(".yaml")
                for manifest in yaml.safe_load_all(text)
                if manifest
            ]
            problems = {
                f"{manifest['kind']} {manifest['metadata']['name']}": found
                for manifest in manifests
                for version in versions(chart.metadata)
                if (found := problem(manifest, version))
            }
            report = lint(folder, values, strict=True)
            results[name] = {"lint": report, "manifests": manifests, "problems": problems}
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
