"""Limits and money at full size: what `tests/integration/accounts` does in seconds, here in minutes.

Each prints what it found; docs/limits.md has the figures of one run.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.accounts.bench import Bench
from tests.integration.accounts.life import Life
from tests.integration.accounts.plans import compare
from tests.integration.accounts.race import race
from tests.support.valkey import ValkeyServer

HISTORIES, LIVES, STEPS, ROUNDS = 100_000, 1_000, 50, 100

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def tell(request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Print figures, captured output or not."""
    began = time.monotonic()

    def tell(**figures: object) -> None:
        line = {"test": request.node.name, **figures, "seconds": round(time.monotonic() - began)}
        with capfd.disabled():
            sys.stdout.write(f"\n{json.dumps(line)}\n")

    return tell


def test_the_scripts_are_the_model(server: ValkeyServer, tell: Callable[..., None]) -> None:
    with Bench(server) as bench:
        tell(**compare(bench, HISTORIES))


def test_the_life_of_reservations(server: ValkeyServer, tell: Callable[..., None]) -> None:
    with Bench(server) as Life.bench:
        run_state_machine_as_test(
            Life,
            settings=settings(max_examples=LIVES, stateful_step_count=STEPS, deadline=None, database=None),
        )
    tell(lives=LIVES, steps=STEPS)


def test_processes_share_a_key_exactly(server: ValkeyServer, tell: Callable[..., None]) -> None:
    found = race(server, ROUNDS)
    tell(**found.as_figures())
    assert (found.overshoot, found.phantoms, found.left_open) == (0, 0, 0)
