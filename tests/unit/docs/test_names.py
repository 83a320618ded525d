"""Names that pages use are names that the gateway knows: variables, metrics, headers, settings, routes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import BaseModel

from gateway.config.models import Settings
from gateway.domain.plan import Reason
from gateway.domain.principal import ROUTE_NAMES
from gateway.edge.routes import EXACT, NOT_BUILT
from gateway.telemetry.metrics import ALL
from tests.unit.docs.pages import BY_NAME, EVERYTHING, PAGES, ROOT, Page, source_texts

_VARIABLE = re.compile(r"\bTUNEGATE_[A-Z_]*[A-Z]")
_METRIC = re.compile(r"\btunegate_[a-z_]*[a-z]")
_HEADER = re.compile(r"\bx-tunegate-[a-z-]*[a-z]")
_SETTING = re.compile(
    r"(?:server|admin|reload|store|telemetry|ledger|limits|cache|on_store_failure)(?:\.[a-z_]+)+"
)
_FILES = {"store.log", "store.lock", "cache.log", "cache.lock"}  # of the data folder


def _sources(pattern: re.Pattern[str]) -> set[str]:
    return {name for text in source_texts() for name in pattern.findall(text)}


def test_variables_are_read_somewhere_and_each_is_documented() -> None:
    read = _sources(_VARIABLE)
    assert set(_VARIABLE.findall(EVERYTHING)) == read
    assert read == set(_VARIABLE.findall(BY_NAME["docs/operations.md"].text))


def test_metrics_exist() -> None:
    assert set(_METRIC.findall(EVERYTHING)) <= {metric.name for metric in ALL}


def test_headers_exist_and_each_is_described() -> None:
    described = (ROOT / "docs/openapi/data.json").read_text("utf-8") + (
        ROOT / "docs/openapi/control.json"
    ).read_text("utf-8")
    known = _sources(_HEADER)
    assert set(_HEADER.findall(EVERYTHING)) <= known
    assert set(_HEADER.findall(described)) == known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_exist(page: Page) -> None:
    for code in set(page.code) - _FILES:
        if _SETTING.fullmatch(code):
            block: Any = Settings
            for name in code.split("."):
                assert issubclass(block, BaseModel), code
                assert name in block.model_fields, f"{page.name}: `{code}` is no setting"
                block = block.model_fields[name].annotation


def test_the_front_door_names_every_route_that_is_not_there_yet() -> None:
    text = BY_NAME["README.md"].text
    listed = text[text.index("**Not available in this version:**") :].partition("\n\n")[0]
    missing = {*NOT_BUILT, *(path for path, route in EXACT.items() if not route.is_built)}
    assert set(re.findall(r"`(/v1/[\w/]+)`", listed)) == missing


def test_reasons_and_route_names_are_the_codes_own() -> None:
    page = BY_NAME["docs/fine-tuned-models.md"]
    listed = page.sentences[page.sentences.index("with a reason:") :].partition(". ")[0]
    assert "`not_owned`" in listed
    assert set(re.findall(r"`(\w+)`", listed)) <= set(Reason)
    routes = re.findall(r"--route (\S+)", EVERYTHING)
    assert routes
    assert set(routes) <= set(ROUTE_NAMES)
