"""One key and eight processes at once: exact, on a server that they share."""

import pytest

from tests.integration.accounts.race import judge, race
from tests.support.valkey import ValkeyServer

ROUNDS = 5


def test_processes_share_a_key_exactly(server: ValkeyServer) -> None:
    found = race(server, ROUNDS)
    assert found.rounds == ROUNDS
    assert found.calls > found.admitted > 0
    assert (found.overshoot, found.phantoms, found.left_open) == (0, 0, 0)


@pytest.mark.parametrize(
    ("fates", "expected"),
    [
        ([(True, 0), (True, 0), (False, 0), (False, 1)], (0, 0)),
        ([(True, 0), (True, 0), (True, 29_999)], (1, 0)),
        ([(True, 0), (True, 0), (True, 30_000)], (0, 0)),
        ([(True, 0), (False, 5), (True, 6), (False, 6)], (0, 1)),
    ],
)
def test_the_judge_counts_overshoot_and_phantoms(fates, expected) -> None:
    assert judge(fates, 2, per_minute=True) == expected
