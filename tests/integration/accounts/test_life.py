"""Reservations, whatever happens to them: nothing held is lost, nothing counted twice, nothing overspent."""

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.accounts.bench import Bench
from tests.integration.accounts.life import Life

LIVES, STEPS = 60, 30


def test_the_life_of_reservations(standing_bench: Bench) -> None:
    Life.bench = standing_bench
    run_state_machine_as_test(
        Life, settings=settings(max_examples=LIVES, stateful_step_count=STEPS, deadline=None, database=None)
    )
