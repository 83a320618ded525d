"""The page on routing is held to the figures of the code."""

from pathlib import Path

from gateway.attempts import budget
from gateway.domain.plan import Reason
from gateway.routing import course, health, pace
from gateway.upstream.port import Timeouts

PAGE = (Path(__file__).parents[3] / "docs" / "routing.md").read_text()


def says(text: str) -> None:
    assert " ".join(text.split()) in " ".join(PAGE.split()), text


def test_every_reason_is_there() -> None:
    for reason in Reason:
        says(f"`{reason.value}`")


def test_the_bounds() -> None:
    says(f"{course.PER_TARGET} attempts of one target, {course.PER_CALL} of one call")
    says(f"{course.LONGEST_WAIT_S:.0f} s of waiting for rate limits")
    says(f"at most {budget.SHARE:.0%} of the calls in flight are retries, and {budget.FLOOR} where")
    says(f"up to {course.PAUSE_S} s, then {2 * course.PAUSE_S} s")


def test_what_rests() -> None:
    rule = health.BREAKER
    assert rule.share == 0.5
    says(f"{rule.in_a_row} failures in a row, or half of {rule.least_calls} calls and more")
    says(f"calls and more within {rule.window_s:.0f} s")
    says(f"streams that break count | {rule.rest_s:.0f} s |")
    says(f"spent quota | {health.CREDENTIAL.rest_s:.0f} s |")
    says(f"one `model_not_found` | {health.MODEL.rest_s:.0f} s |")
    says(f"less than {health.MODEL.rest_s:.0f} s ago")


def test_hedging() -> None:
    says(f"95 of the last {pace.KEPT}")


def test_every_time_limit_is_there() -> None:
    for name in Timeouts.__dataclass_fields__:
        says(f"| `{name}` |")
