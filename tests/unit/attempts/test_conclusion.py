"""What a caller is told when no attempt was made."""

from typing import Any, cast

import pytest

from gateway.attempts.conclusion import conclusion
from gateway.domain.errors import AllRateLimited, NoUpstream, UpstreamTimedOut
from gateway.domain.plan import Attempt, Plan, Target

TARGET = Target("support", "support", None, ())


def plan_of(*not_before: float) -> Plan:
    nobody = cast("Any", None)  # no attempt was made, so whose it is does not matter
    return Plan(tuple(Attempt(nobody, (0,), each) for each in not_before), ())


@pytest.mark.parametrize("not_before", [(0.0,), (0.0, 130.0), (100.0,)])
def test_a_target_was_ready_so_the_time_must_have_been_over(not_before: tuple[float, ...]) -> None:
    assert isinstance(conclusion([], TARGET, plan_of(*not_before), 100.0), UpstreamTimedOut)


def test_all_cool_down_longer_than_a_call_waits() -> None:
    error = conclusion([], TARGET, plan_of(130.0, 120.0), 100.0)

    assert isinstance(error, AllRateLimited)
    assert error.retry_after_s == 20.0


def test_there_is_no_target() -> None:
    assert isinstance(conclusion([], TARGET, plan_of(), 100.0), NoUpstream)
