"""docs/kubernetes.md: its values are the chart's, its commands name what there is."""

from __future__ import annotations

import json
import re
import shlex
import tomllib

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.unit.docs.pages import BY_NAME, ROOT, Fence

CHART = ROOT / "helm" / "tunegate"
PAGE = BY_NAME["docs/kubernetes.md"]
VALUES = [fence for fence in PAGE.fences if fence.language == "yml"]
LINES = [
    shlex.split(line, comments=True)
    for fence in PAGE.fences
    if fence.language == "sh"
    for line in fence.text.replace("\\\n", " ").splitlines()
]
OWN_FILES = {"my-values.yaml", "pip.conf"}
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def lines_of(*program: str) -> list[list[str]]:
    return [words for words in LINES if tuple(words[: len(program)]) == program]


def option(words: list[str], name: str) -> list[str]:
    return [words[index + 1] for index, word in enumerate(words) if word == name]


@pytest.mark.parametrize("fence", VALUES, ids=lambda fence: fence.place)
def test_values_are_values_of_the_chart(fence: Fence) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    assert [error.message for error in Draft7Validator(schema).iter_errors(yaml.safe_load(fence.text))] == []


def test_images_are_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert set(re.findall(r"\btunegate:(\d[\w.]*)", PAGE.text)) == {version}


def test_builds_name_arguments_and_secrets_of_the_dockerfile() -> None:
    builds = [*lines_of("docker", "build"), *lines_of("buildah", "bud")]
    assert len(builds) >= 4
    for words in builds:
        assert words[-1] == "."
        for argument in option(words, "--build-arg"):
            assert f"ARG {argument.partition('=')[0]}=" in DOCKERFILE
        for secret in option(words, "--secret"):
            assert f"type=secret,{secret.partition(',')[0]}," in DOCKERFILE
            assert secret.rpartition("src=")[2] in OWN_FILES


def test_what_is_run_has_the_volumes_and_ports_of_the_image() -> None:
    (words,) = lines_of("docker", "run")
    assert option(words, "--volume")[0].rpartition(":")[2] in re.findall(r'VOLUME \["([^"]+)"\]', DOCKERFILE)
    ports = {port.rpartition(":")[2] for port in option(words, "--publish")}
    assert ports == set(re.findall(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE)[0].split())


def test_compose_is_asked_for_services_that_it_has() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]
    (words,) = lines_of("docker", "compose", "exec")
    assert words[3] in services
    assert words[4] == "tunegate"
    (exported,) = lines_of("export")
    needed = set(re.findall(r"\$\{(\w+):\?", (ROOT / "compose.yaml").read_text("utf-8")))
    assert needed == {word.partition("=")[0] for word in exported if "=" in word}


def test_helm_is_given_the_chart_and_names_are_those_that_it_makes() -> None:
    for words in lines_of("helm"):
        assert words[2:4] == ["gw", "helm/tunegate"]
        assert set(option(words, "--values")) <= OWN_FILES
    names = re.findall(r"(?:deployment|service)/(\S+)", PAGE.text)
    assert set(names) == {"gw-tunegate", "gw-tunegate-admin"}
    assert "http://gw-tunegate.llm.svc/v1" in PAGE.text


def test_the_sums_are_right() -> None:
    assert "355 s by default" in PAGE.text  # 30 to flush, 5 of grace, 300 to drain, 20 for the rest
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    assert values["journal"]["flushTimeoutSeconds"] + 5 + 300 + 20 == 355
