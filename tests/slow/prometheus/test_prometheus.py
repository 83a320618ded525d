"""A real Prometheus reads the rules, and scrapes a gateway that runs."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.telemetry.metrics import ALL

HERE = Path(__file__).parent
CONFIG = HERE.parents[2] / "config" / "observability"
INSTALL = "no {} here (Debian: apt-get install prometheus)"
DEADLINE_S = 60


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(INSTALL.format(name))
    return found


def run(*command: str | Path) -> str:
    done = subprocess.run(  # noqa: S603 - promtool, found on the path
        command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_rules_are_good() -> None:
    run(program("promtool"), "check", "rules", CONFIG / "alerts.yaml")
    run(program("promtool"), "check", "config", CONFIG / "prometheus.yaml")


def test_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    shutil.copy(CONFIG / "alerts.yaml", tmp_path)
    shutil.copy(HERE / "rules_test.yaml", tmp_path)
    run(program("promtool"), "test", "rules", tmp_path / "rules_test.yaml")


@pytest.fixture(scope="module")
def running(gateway: Callable[[str], Any]) -> Any:
    """A gateway that has served a few calls."""
    config = {
        "server": {"drain_grace_s": 0, "workers": 2},
        "upstreams": {"demo": {"kind": "demo", "owns": ["demo"]}},
        "aliases": {"support": {"model": "ft:gpt-4.1-mini-2025-04-14:demo:support:D3m0Aa01"}},
    }
    started = gateway(json.dumps(config))
    for stream in (False, True, True):
        body = {
            "model": "support",
            "stream": stream,
            "messages": [{"role": "user", "content": "Some words."}],
        }
        request = urllib.request.Request(  # noqa: S310 - the gateway's own address
            f"{started.base_url}/chat/completions",
            json.dumps(body).encode(),
            {"content-type": "application/json", "authorization": f"Bearer {started.key}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
            assert answer.status == 200
            answer.read()
    return started


@pytest.fixture(scope="module")
def prometheus(running: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Prometheus with the shipped configuration, but for the address and the pace."""
    binary = program("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copy(CONFIG / "alerts.yaml", folder)
    config = yaml.safe_load((CONFIG / "prometheus.yaml").read_text("utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [
        urllib.parse.urlsplit(running.admin_url).netloc
    ]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    log = (folder / "log").open("w")
    process = subprocess.Popen(  # noqa: S603 - as above
        [
            binary,
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=log,
        stderr=log,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def ask(prometheus: str, path: str, is_there: Callable[[Any], bool], **query: str) -> Any:
    """What Prometheus answers, once `is_there` says that it is what one waits for."""
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    deadline = time.monotonic() + DEADLINE_S
    last: Any = None
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own Prometheus
                last = json.load(answer)["data"]
        except OSError as error:
            last = error
        else:
            if is_there(last):
                return last
        time.sleep(0.1)
    pytest.fail(f"{path} {query} never was as expected: {last}")


def test_it_scrapes_every_metric_and_its_rules_work(prometheus: str) -> None:
    targets = ask(
        prometheus,
        "targets",
        lambda data: [t["health"] for t in data["activeTargets"]] == ["up"],
        state="active",
    )
    assert targets["activeTargets"][0]["lastError"] == ""

    served = ask(
        prometheus,
        "query",
        lambda data: bool(data["result"]) and data["result"][0]["value"][1] == "3",
        query='sum(tunegate_requests_total{alias="support",status="200",error_type="none"})',
    )
    assert served["resultType"] == "vector"
    ask(prometheus, "query", lambda data: bool(data["result"]), query="tunegate_workers == 2")

    described = ask(prometheus, "metadata", lambda data: "tunegate_requests" in data, limit="1000")
    for metric in ALL:
        (said,) = described[metric.name.removesuffix("_total")]  # OpenMetrics keeps the ending for the sample
        assert (said["type"], said["help"]) == (metric.kind, metric.help)

    def have_run(data: Any) -> bool:
        rules = [rule for group in data["groups"] for rule in group["rules"]]
        return bool(rules) and all(rule["health"] == "ok" for rule in rules)

    rules = ask(prometheus, "rules", have_run)
    firing = [
        rule["name"]
        for group in rules["groups"]
        for rule in group["rules"]
        if rule["type"] == "alerting" and rule["state"] == "firing"
    ]
    assert firing == []
