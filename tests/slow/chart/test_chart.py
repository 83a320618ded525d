"""The Helm chart: linted and rendered by Helm, held to Kubernetes' schemas, its configuration to our own."""

import copy
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from gateway.supervisor.paths import server_binary
from tests.slow.chart.rendering import CHART, CI, Rendered, render
from tests.support.polling import until

pytestmark = pytest.mark.timeout(300)

TUNEGATE = Path(sys.executable).parent / "tunegate"
VALUES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CI.glob("*.yaml"))}
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
WORKLOADS = ("Deployment", "StatefulSet")
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a value that there is not": ({"replicas": 3}, "replicas"),
    "a block that there is not": ({"config": {"upstream": {}}}, "upstream"),
    "what the chart sets": ({"config": {"server": {"port": 80}}}, "/config/server"),
    "its own store's address": ({"config": {"store": {"url": "embedded"}}}, "/config/store"),
    "two embedded stores": ({"store": {"mode": "embedded"}}, "replicaCount to 1"),
    "a store that grows": (
        {"store": {"mode": "embedded"}, "replicaCount": 1, "autoscaling": {"enabled": True}},
        "leave autoscaling off",
    ),
    "a store without an address": ({"store": {"mode": "external"}}, "url"),
    "an address of another kind": ({"store": {"mode": "external", "external": {"url": "http://x"}}}, "url"),
    "an ingress without a host": ({"ingress": {"enabled": True}}, "hosts"),
    "metrics by a key that nobody has": (
        {"serviceMonitor": {"enabled": True}, "config": {"admin": {"metrics_auth": True}}},
        "TUNEGATE_ADMIN_KEY",
    ),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "an alias": {"config": {"aliases": {"plain": {"model": "gpt-4.1-mini"}}}},
    "more workers": {"config": {"server": {"workers": 2}}},
    "another credential": {"secret": {"data": {"OPENAI_API_KEY": "another"}}},
    "a cache for all pods": {"config": {"store": {"cache_url": "redis://cache.example:6379"}}},
    "no bundled storage": {
        "valkey": {"persistence": {"enabled": False}},
        "networkPolicy": {"enabled": False},
    },
}


@pytest.fixture(scope="module")
def everything() -> dict[str, Rendered]:
    refused = {name: values for name, (values, _) in REFUSED.items()}
    return render({**VALUES, **refused, **VARIANTS})


@pytest.fixture(params=[*VALUES, *VARIANTS])
def rendered(request: pytest.FixtureRequest, everything: dict[str, Rendered]) -> Rendered:
    return everything[request.param]


def test_there_are_six_files_of_values() -> None:
    assert {"defaults", "external-cluster-tls", "autoscaled", "embedded", "locked-down", "everything"} <= set(
        VALUES
    )


def test_helm_and_kubernetes_have_nothing_to_say(rendered: Rendered) -> None:
    assert rendered.lint["errors"] == []
    assert [each for each in rendered.lint["messages"] if each["severity"] > 1] == []
    assert rendered.problems == {}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_values_are_refused_in_words(everything: dict[str, Rendered], name: str) -> None:
    assert REFUSED[name][1] in everything[name].error


def test_the_configuration_is_one_that_the_gateway_takes(rendered: Rendered, tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(rendered.one("ConfigMap")["data"]["gateway.yaml"])
    given = dict.fromkeys(re.findall(r"\$\{(\w+)\}", file.read_text()), "placeholder")
    done = subprocess.run(  # noqa: S603 - our own command
        [TUNEGATE, "check-config", file],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **given},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_variable_of_the_configuration_comes_from_a_secret(rendered: Rendered) -> None:
    wanted = set(re.findall(r"\$\{(\w+)\}", rendered.one("ConfigMap")["data"]["gateway.yaml"]))
    container = rendered.gateway["spec"]["template"]["spec"]["containers"][0]
    by_name = {each["name"] for each in container["env"] if "secretKeyRef" in each.get("valueFrom", {})}
    secrets = {each["metadata"]["name"]: each for each in rendered.all("Secret")}
    for source in container.get("envFrom", []):
        name = source.get("secretRef", {}).get("name")
        if name == "tunegate-credentials":  # one that the values say exists
            by_name |= wanted
        by_name |= set(secrets.get(name, {}).get("data", {}))
    assert wanted <= by_name


def test_pods_are_locked_down(rendered: Rendered) -> None:
    for workload in rendered.all(*WORKLOADS):
        pod = workload["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_mounts_have_volumes(rendered: Rendered) -> None:
    for workload in rendered.all(*WORKLOADS):
        pod = workload["spec"]["template"]["spec"]
        volumes = [each["name"] for each in pod["volumes"]]
        volumes += [each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", [])]
        mounts = [each["name"] for container in pod["containers"] for each in container["volumeMounts"]]
        assert sorted(volumes) == sorted(set(mounts))
    config = rendered.one("ConfigMap")
    mounted = {each["name"]: each for each in rendered.gateway["spec"]["template"]["spec"]["volumes"]}[
        "config"
    ]
    assert mounted["configMap"]["name"] == config["metadata"]["name"]


def test_selectors_select_the_pods_that_are_meant(rendered: Rendered) -> None:
    pods = {each["metadata"]["name"]: each["spec"]["template"] for each in rendered.all(*WORKLOADS)}

    def selected(labels: dict[str, str]) -> list[str]:
        return [name for name, pod in pods.items() if labels.items() <= pod["metadata"]["labels"].items()]

    for workload in rendered.all(*WORKLOADS):
        assert selected(workload["spec"]["selector"]["matchLabels"]) == [workload["metadata"]["name"]]
    for service in rendered.all("Service"):
        (target,) = selected(service["spec"]["selector"])
        ports = {port["name"] for port in pods[target]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for policy in rendered.all("NetworkPolicy", "PodDisruptionBudget"):
        spec = policy["spec"]
        assert len(selected((spec.get("podSelector") or spec["selector"])["matchLabels"])) == 1


def test_the_control_plane_has_a_service_of_its_own(rendered: Rendered) -> None:
    name = rendered.gateway["metadata"]["name"]
    services = {
        each["metadata"]["name"]: {port["targetPort"] for port in each["spec"]["ports"]}
        for each in rendered.all("Service")
    }
    assert services[name] == {"http"}
    assert services[f"{name}-admin"] == {"admin"}
    assert [services[each] for each in services if "admin" in services[each]] == [{"admin"}]
    for ingress in rendered.all("Ingress"):
        backends = [path["backend"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
        assert {backend["service"]["name"] for backend in backends} == {name}


def test_the_grace_covers_the_flush_and_the_drain(rendered: Rendered) -> None:
    pod = rendered.gateway["spec"]["template"]["spec"]
    container = pod["containers"][0]
    flush = float(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    server = rendered.config["server"]
    drain = server.get("drain_grace_s", 5) + server.get("drain_timeout_s", 300)
    assert pod["terminationGracePeriodSeconds"] == math.ceil(flush + drain + 20)
    readiness = container["readinessProbe"]
    assert readiness["httpGet"] == {"path": "/readyz", "port": "http"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}


def test_the_script_of_prestop_is_in_the_folder_that_is_mounted(rendered: Rendered) -> None:
    script = rendered.one("ConfigMap")["data"]["flush_journal.py"]
    assert script.rstrip() == (CHART / "files/flush_journal.py").read_text().rstrip()
    compile(script, "flush_journal.py", "exec")
    command = rendered.gateway["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"][
        "command"
    ]
    assert command[2] == "/etc/tunegate/flush_journal.py"


def test_nothing_secret_stands_outside_of_secrets(rendered: Rendered) -> None:
    rest = str([each for each in rendered.manifests if each["kind"] != "Secret"])
    assert "for-the-tests" not in rest


def test_where_the_store_is_embedded_there_is_one_gateway_with_a_volume(
    everything: dict[str, Rendered],
) -> None:
    rendered = everything["embedded"]
    assert rendered.gateway["kind"] == "StatefulSet"
    assert rendered.gateway["spec"]["replicas"] == 1
    (claim,) = rendered.gateway["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert rendered.config["store"] == {
        "url": "embedded",
        "cache_url": "embedded",
        "data_dir": "/var/lib/tunegate",
    }
    assert not rendered.all("PodDisruptionBudget"), "one that may never go would block the node"
    assert len(rendered.all(*WORKLOADS)) == 1


def test_the_cache_fills_no_server_that_keeps_the_ledger(everything: dict[str, Rendered]) -> None:
    for name in VALUES:
        assert everything[name].config["store"]["cache_url"] == "embedded"
    shared = everything["a cache for all pods"].config["store"]
    assert shared["cache_url"] == "redis://cache.example:6379"
    assert shared["url"].startswith("redis://:${VALKEY_PASSWORD}@")


def test_a_scaled_workload_states_no_number_of_its_own(everything: dict[str, Rendered]) -> None:
    for name in ("autoscaled", "everything"):
        rendered = everything[name]
        target = rendered.one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == (
            rendered.gateway["kind"],
            rendered.gateway["metadata"]["name"],
        )
        assert "replicas" not in rendered.gateway["spec"]


def test_a_cluster_over_tls_is_verified_by_its_own_authority(everything: dict[str, Rendered]) -> None:
    rendered = everything["external-cluster-tls"]
    url = rendered.config["store"]["url"]
    assert url.startswith("rediss+cluster://")
    assert url.endswith("?ssl_ca_certs=/etc/tunegate-store-ca/ca.crt")
    mounts = rendered.gateway["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert {"name": "store-ca", "mountPath": "/etc/tunegate-store-ca", "readOnly": True} in mounts


def test_everything_is_everything(everything: dict[str, Rendered]) -> None:
    kinds = {each["kind"] for each in everything["everything"].manifests}
    assert kinds == {
        "ConfigMap", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "PodDisruptionBudget",
        "PrometheusRule", "Secret", "Service", "ServiceAccount", "ServiceMonitor", "StatefulSet",
    }  # fmt: skip


def test_what_prometheus_is_given(everything: dict[str, Rendered]) -> None:
    rendered = everything["everything"]
    monitor, rule = rendered.one("ServiceMonitor"), rendered.one("PrometheusRule")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert set(endpoint) <= {
        "port", "path", "interval", "scrapeTimeout", "authorization", "relabelings", "metricRelabelings",
    }  # fmt: skip
    chosen = [
        service["metadata"]["name"]
        for service in rendered.all("Service")
        if monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    ]
    assert chosen == [f"{rendered.gateway['metadata']['name']}-admin"]
    assert endpoint["port"] == "admin"
    assert endpoint["authorization"]["credentials"]["key"] == "TUNEGATE_ADMIN_KEY"
    shipped = yaml.safe_load((CHART.parents[1] / "config/observability/alerts.yaml").read_text())
    assert rule["spec"] == {
        "groups": [*shipped["groups"], *VALUES["everything"]["prometheusRule"]["extraGroups"]]
    }
    for metadata in (monitor["metadata"], rule["metadata"]):
        assert metadata["labels"]["release"] == "prometheus"


def test_only_what_a_reload_does_not_take_restarts_pods(everything: dict[str, Rendered]) -> None:
    def annotations(name: str) -> dict[str, str]:
        found: dict[str, str] = everything[name].gateway["spec"]["template"]["metadata"]["annotations"]
        return found

    assert annotations("an alias") == annotations("defaults")
    assert annotations("more workers") != annotations("defaults")
    assert annotations("another credential") != annotations("defaults")


def test_link_local_addresses_are_out_of_reach(everything: dict[str, Rendered]) -> None:
    rules = everything["defaults"].named("NetworkPolicy", "gw-tunegate")["spec"]["egress"]
    blocks = [to["ipBlock"] for rule in rules for to in rule.get("to", []) if "ipBlock" in to]
    assert all("169.254.0.0/16" in each["except"] for each in blocks if each["cidr"] == "0.0.0.0/0")
    assert any(each["cidr"] == "0.0.0.0/0" for each in blocks)


@pytest.fixture
def bundled_valkey(everything: dict[str, Rendered], tmp_path: Path) -> Iterator[Path]:
    """The bundled Valkey's own command, on a socket; the socket's path."""
    workload = everything["defaults"].named("StatefulSet", "gw-tunegate-valkey")
    shell, option, script = copy.deepcopy(workload["spec"]["template"]["spec"]["containers"][0]["command"])
    socket = tmp_path / "v.sock"
    here = f"dir {tmp_path}\nport 0\nunixsocket {socket}\n"
    assert "dir /data\n" in script
    path = f"{server_binary().parent}:{os.environ['PATH']}"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - the chart's own
            [shell, option, script.replace("dir /data\n", here)],
            env={"PATH": path, "VALKEY_PASSWORD": "word"},
            stdout=log,
            stderr=log,
        )
    try:
        yield socket
    finally:
        process.terminate()
        assert process.wait(30) == 0, (tmp_path / "log").read_text()


async def test_the_bundled_valkey_starts_with_its_password(bundled_valkey: Path) -> None:
    await until(bundled_valkey.exists, "the socket")
    with (
        redis.Redis(unix_socket_path=str(bundled_valkey)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    with redis.Redis(unix_socket_path=str(bundled_valkey), password="word", decode_responses=True) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("append*") | {
            "appendonly": "yes",
            "appendfsync": "always",
        } == client.config_get("append*")
