"""The order of attempts: fixed order, weights, pins, credentials, and what is left out."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.plan import Candidate, Plan, Reason
from gateway.routing.health import CREDENTIAL_COOLDOWN_S, Health
from gateway.routing.planner import plan

A = Candidate("a", "m")
B = Candidate("b", "m")
BASE = Candidate("a", "base", step=1)


def order(decision: Plan) -> list[tuple[str, str]]:
    return [(attempt.candidate.upstream, attempt.candidate.model) for attempt in decision.attempts]


def test_candidates_are_tried_in_their_order() -> None:
    assert order(plan([A, B, BASE], Health(), 0, 0.9)) == [("a", "m"), ("b", "m"), ("a", "base")]


def test_weights_draw_the_first_and_keep_the_others_as_failover() -> None:
    weighed = [Candidate("a", "m", weight=80), Candidate("b", "m", weight=20), BASE]

    firsts = Counter(order(plan(weighed, Health(), 0, n / 1000))[0][0] for n in range(1000))

    assert firsts == {"a": 800, "b": 200}
    assert order(plan(weighed, Health(), 0, 0.9)) == [("b", "m"), ("a", "m"), ("a", "base")]


def test_what_cannot_serve_takes_no_share() -> None:
    dead = Candidate("a", "m", weight=80, skip=Reason.DISABLED, detail="no key")
    weighed = [dead, Candidate("b", "m", weight=20)]

    decision = plan(weighed, Health(), 0, 0.1)

    assert order(decision) == [("b", "m")]
    assert [left.reason for left in decision.left_out] == [Reason.DISABLED]


def test_a_weight_of_zero_is_failover_only() -> None:
    weighed = [Candidate("a", "m", weight=0), Candidate("b", "m", weight=1)]

    assert {order(plan(weighed, Health(), 0, n / 10))[0] for n in range(10)} == {("b", "m")}


def test_the_first_target_left_out_is_told() -> None:
    decision = plan([Candidate("a", "m", skip=Reason.NOT_OWNED, detail="x"), B], Health(), 0, 0)

    assert decision.first_skipped is Reason.NOT_OWNED
    assert decision.first_only().attempts == ()


def test_without_fallback_only_the_first_target_serves() -> None:
    assert order(plan([A, B], Health(), 0, 0).first_only()) == [("a", "m")]


def test_a_pin_leaves_out_every_other_upstream() -> None:
    decision = plan([A, B], Health(), 0, 0, pin="b")

    assert order(decision) == [("b", "m")]
    assert decision.left_out[0].reason is Reason.PINNED_ELSEWHERE


class TestCredentials:
    def test_several_are_used_in_turn(self) -> None:
        health, three = Health(), Candidate("a", "m", credentials=3)
        firsts = []
        for _ in range(4):
            firsts.append(plan([three], health, 0, 0).attempts[0].credentials)
            health.began("a")

        assert firsts == [(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 1, 2)]

    def test_one_that_was_refused_rests(self) -> None:
        health, two = Health(), Candidate("a", "m", credentials=2)
        health.set_aside("a", 0, now=10)

        assert plan([two], health, 11, 0).attempts[0].credentials == (1,)
        assert plan([two], health, 10 + CREDENTIAL_COOLDOWN_S, 0).attempts[0].credentials == (0, 1)

    def test_an_upstream_without_any_left_is_left_out(self) -> None:
        health = Health()
        health.set_aside("a", 0, now=10)

        decision = plan([A, B], health, 11, 0)

        assert order(decision) == [("b", "m")]
        assert decision.first_skipped is Reason.CREDENTIAL_SET_ASIDE

    def test_one_that_is_accepted_again_is_ready(self) -> None:
        health = Health()
        health.set_aside("a", 0, now=10)
        health.accepted("a", 0)

        assert order(plan([A], health, 11, 0)) == [("a", "m")]


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        upstream=st.sampled_from("abcd"),
        model=st.sampled_from("mn"),
        step=st.integers(0, 2),
        weight=st.none() | st.integers(0, 100),
        skip=st.none() | st.sampled_from(list(Reason)),
    ),
    max_size=8,
).map(lambda some: sorted(some, key=lambda candidate: candidate.step))


@given(CANDIDATES, st.floats(0, 1, exclude_max=True))
def test_every_candidate_is_tried_or_left_out_and_steps_keep_their_order(
    candidates: list[Candidate], draw: float
) -> None:
    decision = plan(candidates, Health(), 0, draw)
    tried = [attempt.candidate for attempt in decision.attempts]
    left = [each.candidate for each in decision.left_out]

    able = [candidate for candidate in candidates if candidate.skip is None]
    assert sorted(map(repr, left)) == sorted(repr(c) for c in candidates if c.skip is not None)
    assert len(tried) == min(6, len(able))
    assert [candidate.step for candidate in tried] == sorted(candidate.step for candidate in tried)


@pytest.mark.parametrize("draw", [0.0, 0.999999])
def test_nobody_is_no_plan(draw: float) -> None:
    assert plan([], Health(), 0, draw) == Plan((), ())
