"""The scripts on a real server are the model, to the last unit of every figure."""

from tests.integration.accounts.bench import Bench
from tests.integration.accounts.plans import RESULTS, VERDICTS, compare

HISTORIES = 2_000


def test_the_scripts_are_the_model(standing_bench: Bench) -> None:
    seen = compare(standing_bench, HISTORIES)
    unseen = {*VERDICTS, *RESULTS} - {"stale"} - seen.keys()
    assert not unseen
