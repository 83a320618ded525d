"""The conformance suite against real adapters, and against providers without the official API by litellm."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from running import adapters, running_model_server

from gateway.config.providers import providers_python
from tests.e2e.gateway_process import running_gateway
from tests.support.conformance import subjects
from tests.support.conformance.checks import RUN, Bench
from tests.support.conformance.subjects import Subject, config_of
from tests.support.conformance.table import CHECKS, FAST, KINDS, applies

ROWS = [(kind, check) for kind in KINDS if kind not in FAST for check in CHECKS if applies(kind, check)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Subject], Bench]]:
    """Every kind behind one gateway."""
    if providers_python(os.environ) is None:
        pytest.skip("no .venv-providers here: `python3 dev.py providers` makes it")
    with ExitStack() as stack:
        url = stack.enter_context(running_model_server(tmp_path_factory.mktemp("models")))
        adapter = subjects.adapter(url, {"lora": adapters("sailor")})
        held = [adapter, subjects.anthropic(stack), subjects.gemini(stack)]
        config = {"server": {"workers": 1, "drain_grace_s": 0}, **config_of(held)}
        gateway = stack.enter_context(running_gateway(config))
        bench = Bench(gateway)
        stack.callback(bench.http.close)
        yield {subject.kind: subject for subject in held}, bench
        assert gateway.stop() == 0
        assert gateway.logged("a request failed") == []
        levels = [line for line in gateway.log() if line["level"] == "error"]
        assert levels == []


@pytest.mark.parametrize(("kind", "check"), ROWS)
def test_it_conforms(stage: tuple[dict[str, Subject], Bench], kind: str, check: str):
    held, bench = stage
    RUN[check](held[kind], bench)
