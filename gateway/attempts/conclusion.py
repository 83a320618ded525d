"""What the caller is told when nobody served."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain.errors import (
    AllRateLimited,
    AttemptFailed,
    FailureClass,
    GatewayError,
    ModelNotFound,
    NoUpstream,
    UpstreamsFailed,
    UpstreamTimedOut,
)
from gateway.domain.plan import Plan, Reason, Target


def conclusion(failures: Sequence[AttemptFailed], target: Target, plan: Plan, now: float) -> GatewayError:
    """The error of a call whose course has ended.

    Args:
        now: the planner's clock.
    """
    if not failures:
        return _nothing_tried(target, plan, now)
    classes = {failure.failure for failure in failures}
    if classes == {FailureClass.MODEL_NOT_FOUND}:
        return _gone(target)
    if classes == {FailureClass.RATE_LIMITED}:
        waits = [f.retry_after_s for f in failures if f.retry_after_s is not None]
        return AllRateLimited(
            f"Every upstream of `{target.name}` is rate limited.", min(waits) if waits else 1.0
        )
    tried = ", ".join(failure.failure.value for failure in failures)
    if failures[-1].failure is FailureClass.TIMEOUT:
        return UpstreamTimedOut(f"The upstream of `{target.name}` did not answer in time (tried: {tried}).")
    return UpstreamsFailed(f"No upstream served `{target.name}` (tried: {tried}).")


def _nothing_tried(target: Target, plan: Plan, now: float) -> GatewayError:
    if plan.attempts:
        wait_s = min(attempt.not_before for attempt in plan.attempts) - now
        if wait_s <= 0:
            return UpstreamTimedOut(f"The time of this call was over before `{target.name}` could be asked.")
        # all of them cool down for longer than a call waits
        return AllRateLimited(f"Every upstream of `{target.name}` is rate limited.", wait_s)
    if plan.left_out and {left.reason for left in plan.left_out} == {Reason.MODEL_GONE}:
        return _gone(target)
    reasons = "; ".join(
        f"{left.candidate.upstream}: {left.reason.value} ({left.detail})" for left in plan.left_out
    )
    rests = [left.rests_s for left in plan.left_out if left.rests_s is not None]
    return NoUpstream(
        f"No upstream can serve `{target.name}` now. {reasons}".strip(), min(rests) if rests else None
    )


def _gone(target: Target) -> ModelNotFound:
    return ModelNotFound(f"The model `{target.name}` does not exist at any upstream that may serve it.")
