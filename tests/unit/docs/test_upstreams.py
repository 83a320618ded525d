"""docs/upstreams.md names what there is, and says what a probe takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.catalog import build
from gateway.catalog.advice import advise
from gateway.config import load_file
from gateway.config.quirks import QuirkSettings
from gateway.config.upstream import UpstreamSettings
from gateway.control.probe.probe import most_calls
from tests.unit.docs.pages import BY_NAME, ROOT

PAGE = BY_NAME["docs/upstreams.md"]
EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))


def test_every_quirk_is_explained() -> None:
    rows = PAGE.table("quirk")
    named = [re.findall(r"`(\w+):", row["quirk"])[0] for row in rows]
    assert sorted(named) == sorted(QuirkSettings.model_fields)


def test_every_kind_has_its_section() -> None:
    kinds = UpstreamSettings.model_json_schema()["properties"]["kind"]["enum"]
    assert {f"kind-{kind}" for kind in kinds} <= PAGE.anchors


def test_the_sample_of_a_probe_takes_as_many_calls_as_a_probe_does() -> None:
    [calls] = re.findall(r"This takes at most (\d+) calls", PAGE.text)
    assert int(calls) == len(most_calls())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_files_need_no_warning(path: Path) -> None:
    settings = load_file(path, {"OPENAI_API_KEY": "sk-test"})
    assert advise(settings) == []


def test_the_profile_of_luna() -> None:
    settings = load_file(ROOT / "config" / "examples" / "luna.yaml", {"OPENAI_API_KEY": "sk-test"})
    [fine_tune, luna] = build(settings).aliases["support"].candidates
    assert fine_tune.rewrite is None
    assert luna.model == "gpt-6-luna"
    assert luna.rewrite is not None
    assert set(luna.rewrite.drop) == {"temperature", "top_p", "logprobs", "top_logprobs"}
    assert luna.rewrite.rename == (("max_tokens", "max_completion_tokens"),)
    assert [(name, bytes(value)) for name, value in luna.rewrite.set] == [("reasoning_effort", b'"none"')]
