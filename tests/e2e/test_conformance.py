"""The conformance suite against the kinds that need nothing beside this checkout."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.gateway_process import running_gateway
from tests.support.conformance import subjects
from tests.support.conformance.checks import RUN, Bench
from tests.support.conformance.subjects import Subject, config_of
from tests.support.conformance.table import CHECKS, EXCEPT, FAST, KINDS, applies

ROWS = [(kind, check) for kind in FAST for check in CHECKS if applies(kind, check)]
Stage = tuple[dict[str, Subject], Bench]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Every kind behind one gateway."""
    with ExitStack() as stack:
        held = [subjects.demo(), subjects.openai(stack), subjects.azure(stack)]
        config = {"server": {"workers": 1, "drain_grace_s": 0}, **config_of(held)}
        gateway = stack.enter_context(running_gateway(config))
        bench = Bench(gateway)
        stack.callback(bench.http.close)
        yield {subject.kind: subject for subject in held}, bench
        assert gateway.stop() == 0
        assert gateway.logged("a request failed") == []


@pytest.mark.parametrize(("kind", "check"), ROWS)
def test_it_conforms(stage: Stage, kind: str, check: str) -> None:
    held, bench = stage
    RUN[check](held[kind], bench)


def test_the_table_is_whole() -> None:
    assert set(RUN) == set(CHECKS)
    assert all(kind in KINDS and check in CHECKS for kind, check in EXCEPT)
    assert set(FAST) < set(KINDS)
