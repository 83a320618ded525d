"""A small edition of `dev.py chaos shards`: three workers; a cluster loses a primary and moves a slot."""

import pytest

from tests.chaos.kit.shards import Settings, run


@pytest.mark.timeout(120)
def test_no_charge_is_wrong_after_a_failover_that_settlements_wait_for() -> None:
    settings = Settings(requests=600, seed=2, gateways=1, workers=3, rate=100)

    result = run(settings)

    assert result.is_good, (result.verdict.violations, result.journals_left, result.figures(settings))
    assert result.lost == 0
    assert result.verdict.figures["acknowledged"] > settings.requests / 2
    assert result.failed_within > 0  # keys that pay are refused while their shard is away
    assert result.blows.keys_of_the_killed
