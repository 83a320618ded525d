"""A thousand requests while every process of the gateway is killed: the ledger is right when it is quiet."""

import pytest

from tests.chaos.kit.run import Settings, run


@pytest.mark.timeout(180)
def test_the_ledger_is_right_after_everything_was_killed() -> None:
    settings = Settings(requests=1_000, seed=3, every_s=0.4, rate=120)

    result = run(settings)

    assert result.is_good, (result.verdict.violations, result.journals_left, result.figures(settings))
    assert result.verdict.figures["acknowledged"] > settings.requests / 3
    assert result.hits["worker"] >= 1
    assert result.hits["store"] >= 1
