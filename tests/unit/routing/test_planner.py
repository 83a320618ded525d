"""The order of attempts: fixed order, weights, pins, credentials, and what is left out."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import AttemptFailed, FailureClass, Hint
from gateway.domain.plan import Candidate, Plan, Reason, Target
from gateway.routing.health import BREAKER, CREDENTIAL, MODEL, Health, UpstreamReport
from gateway.routing.planner import plan, usual

A = Candidate("a", "m")
B = Candidate("b", "m")
BASE = Candidate("a", "base", step=1)
MOST = 1000


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


def fail(health: Health, failure: str, *, credential: int = 0, times: int = 1, **known: Any) -> None:
    """Let calls of "a" for "m" fail at 10 s."""
    for _ in range(times):
        error = AttemptFailed(FailureClass(failure), "", **known)
        health.failed("a", credential, "m", error, 10)


class TestCredentials:
    def test_several_are_used_in_turn(self) -> None:
        health, three = Health(), Candidate("a", "m", credentials=3)
        firsts = []
        for _ in range(4):
            firsts.append(plan([three], health, 0, 0).attempts[0].credentials)
            health.begin("a", 0, "m", MOST, 0)

        assert firsts == [(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 1, 2)]

    def test_one_that_was_refused_rests(self) -> None:
        health, two = Health(), Candidate("a", "m", credentials=2)
        fail(health, "credential")

        assert plan([two], health, 11, 0).attempts[0].credentials == (1,)
        assert plan([two], health, 10 + CREDENTIAL.rest_s, 0).attempts[0].credentials == (0, 1)

    def test_an_upstream_without_any_left_is_left_out(self) -> None:
        health = Health()
        fail(health, "credential")

        decision = plan([A, B], health, 11, 0)

        assert order(decision) == [("b", "m")]
        assert decision.first_skipped is Reason.CREDENTIAL_SET_ASIDE

    def test_one_that_is_accepted_again_is_ready(self) -> None:
        health = Health()
        fail(health, "credential")
        health.succeeded("a", 0, "m", 71)

        assert order(plan([A], health, 71, 0)) == [("a", "m")]


class TestHealth:
    def test_a_process_of_ours_that_is_away_is_asked_again_at_once(self) -> None:
        health = Health()
        health.ours = frozenset({"a"})
        fail(health, "connect", times=100)
        assert order(plan([A, B], health, 10, 0)) == [("a", "m"), ("b", "m")]

    def test_what_stands_behind_it_may_rest_and_its_return_ends_that(self) -> None:
        health = Health()
        health.ours = frozenset({"a"})
        fail(health, "server_error", times=5)
        assert order(plan([A, B], health, 11, 0)) == [("b", "m")]
        rested = 10 + BREAKER.rest_s
        for _ in range(3):  # each probe finds the process away, and the next one need not wait
            assert order(plan([A, B], health, rested, 0)) == [("a", "m"), ("b", "m")]
            health.begin("a", 0, "m", MOST, rested)
            health.failed("a", 0, "m", AttemptFailed(FailureClass.CONNECT, "away"), rested)
        health.succeeded("a", 0, "m", rested)
        assert health.report(["a"], rested)["a"]["open"] == []

    @pytest.mark.parametrize("failure", ["connect", "timeout", "server_error", "bad_response"])
    def test_failures_in_a_row_open_the_breaker_of_an_upstream(self, failure: str) -> None:
        health = Health()
        fail(health, failure, times=4)
        assert order(plan([A, B], health, 10, 0)) == [("a", "m"), ("b", "m")]
        fail(health, failure)

        decision = plan([A, B, BASE], health, 11, 0)

        assert order(decision) == [("b", "m")]
        assert [(left.reason, left.rests_s) for left in decision.left_out] == [(Reason.BREAKER_OPEN, 4.0)] * 2
        assert order(plan([A, B], health, 10 + BREAKER.rest_s, 0)) == [("a", "m"), ("b", "m")]

    def test_one_probe_at_a_time(self) -> None:
        health = Health()
        fail(health, "connect", times=5)
        health.begin("a", 0, "m", MOST, 15)
        assert order(plan([A, B], health, 15.1, 0)) == [("b", "m")]
        health.succeeded("a", 0, "m", 15.2)
        assert order(plan([A, B], health, 15.3, 0)) == [("a", "m"), ("b", "m")]

    @pytest.mark.parametrize("failure", ["rate_limited", "credential", "model_not_found"])
    def test_an_upstream_that_answers_is_there(self, failure: str) -> None:
        health = Health()
        fail(health, "server_error", times=4)
        fail(health, failure)
        fail(health, "server_error", times=4)
        assert not health.is_open("a", 0, 10)

    def test_a_model_that_is_gone_does_not_touch_its_upstream(self) -> None:
        health = Health()
        fail(health, "model_not_found")

        decision = plan([A, BASE], health, 11, 0)

        assert order(decision) == [("a", "base")]
        assert decision.first_skipped is Reason.MODEL_GONE
        assert order(plan([A], health, 10 + MODEL.rest_s, 0)) == [("a", "m")]

    def test_what_is_rate_limited_goes_behind_everything_else(self) -> None:
        health = Health()
        fail(health, "rate_limited", retry_after_s=20.0)

        decision = plan([A, B, BASE], health, 11, 0)

        assert order(decision) == [("b", "m"), ("a", "base"), ("a", "m")]
        assert (decision.first_skipped, decision.first_at) == (FailureClass.RATE_LIMITED, 2)
        assert decision.attempts[-1].not_before == 30
        assert order(decision.first_only()) == [("a", "m")]
        assert order(plan([A, B], health, 30, 0)) == [("a", "m"), ("b", "m")]

    def test_only_the_credential_that_was_limited_cools_down(self) -> None:
        health, two = Health(), Candidate("a", "m", credentials=2)
        fail(health, "rate_limited", retry_after_s=20.0)
        [attempt] = plan([two], health, 11, 0).attempts
        assert (attempt.credentials, attempt.not_before) == ((1, 0), 0.0)

    @pytest.mark.parametrize("hint", list(Hint))
    def test_other_kinds_of_429_cool_nothing_down(self, hint: Hint) -> None:
        health = Health()
        fail(health, "rate_limited", retry_after_s=20.0, hint=hint)
        assert plan([A], health, 11, 0).attempts[0].not_before == 0

    def test_what_is_full_goes_behind(self) -> None:
        health, full = Health(), Candidate("a", "m", max_concurrency=1)
        health.begin("a", 0, "m", MOST, 0)
        decision = plan([full, B], health, 0, 0)
        assert order(decision) == [("b", "m"), ("a", "m")]
        assert decision.first_skipped is FailureClass.RATE_LIMITED
        health.ended("a")
        assert order(plan([full, B], health, 0, 0)) == [("a", "m"), ("b", "m")]

    def test_changes_are_told_once(self) -> None:
        told: list[tuple[Any, ...]] = []
        health = Health(lambda *change: told.append(change))
        fail(health, "server_error", times=8)
        fail(health, "model_not_found", times=2)
        health.succeeded("a", 0, "m", 80)
        assert told == [
            ("breaker", "a", 0, "open"),
            ("model", "a", "m", "open"),
            ("breaker", "a", 0, "closed"),
            ("model", "a", "m", "closed"),
        ]


class TestReports:
    def test_a_report_names_what_was_seen_here(self) -> None:
        health = Health()
        fail(health, "server_error", times=5)
        fail(health, "credential", credential=1)
        fail(health, "model_not_found", credential=2)
        assert health.report(["a", "b"], 11) == {
            "a": {"in_flight": 0, "set_aside": [1], "open": [0], "gone": ["m"]},
            "b": {"in_flight": 0, "set_aside": [], "open": [], "gone": []},
        }

    def test_what_others_saw_rests_here_too_and_is_not_passed_on(self) -> None:
        health = Health()
        health.advise({"a": UpstreamReport(set_aside=[0], gone=["n"])}, 10)
        assert health.is_set_aside("a", 0, 11)
        assert health.is_gone("a", "n", 11)
        assert health.report(["a"], 11)["a"] == {"in_flight": 0, "set_aside": [], "open": [], "gone": []}
        assert not health.is_set_aside("a", 0, 10 + CREDENTIAL.rest_s)

    def test_a_breaker_opens_for_what_is_seen_here_but_then_at_once(self) -> None:
        health = Health()
        health.advise({"a": UpstreamReport(open=[0])}, 10)
        assert not health.is_open("a", 0, 10)
        fail(health, "server_error")
        assert health.is_open("a", 0, 10)

    def test_advice_never_shortens_or_prolongs_what_is_known(self) -> None:
        health = Health()
        fail(health, "credential")
        health.advise({"a": UpstreamReport(set_aside=[0])}, 40)
        assert not health.is_set_aside("a", 0, 10 + CREDENTIAL.rest_s)


class TestSunset:
    ENDED = Candidate("a", "m", shutdown_date="2027-01-14")

    @pytest.mark.parametrize(
        ("today", "is_tried"), [("2027-01-13", True), ("2027-01-14", True), ("2027-01-15", False)]
    )
    def test_a_model_past_its_date_is_not_asked(self, today: str, is_tried: bool) -> None:
        decision = plan([self.ENDED, BASE], Health(), 0, 0, today=today)
        assert order(decision) == [("a", "m")] * is_tried + [("a", "base")]
        assert decision.first_skipped is (None if is_tried else Reason.SUNSET)


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        upstream=st.sampled_from("abcd"),
        model=st.sampled_from("mn"),
        step=st.integers(0, 2),
        weight=st.none() | st.integers(0, 100),
        skip=st.none() | st.sampled_from(list(Reason)),
        shutdown_date=st.none() | st.sampled_from(["2026-10-23", "2027-01-14"]),
    ),
    max_size=8,
).map(lambda some: sorted(some, key=lambda candidate: candidate.step))


@given(
    CANDIDATES,
    st.sampled_from(["2026-10-23", "2026-10-24", "2027-01-14", "2027-01-15"]),
    st.lists(st.sampled_from("abc"), max_size=8),
)
def test_the_plan_of_all_calls_while_all_is_well(
    candidates: list[Candidate], today: str, in_flight: list[str]
) -> None:
    """What a target keeps is what would be planned anew for each call."""
    health = Health()
    for upstream in in_flight:
        health.begin(upstream, 0, "m", MOST, 0)

    for second in (0, 86399.9):
        unix = datetime.fromisoformat(today).replace(tzinfo=UTC).timestamp() + second
        kept = usual(Target("support", "support", None, tuple(candidates)), health, unix)
        assert kept is None or kept == plan(candidates, health, 0, 0.5, today=today)


def test_when_a_plan_is_kept() -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()

    def kept(*candidates: Candidate, health: Health | None = None) -> bool:
        return usual(Target("support", "support", None, candidates), health or Health(), noon) is not None

    full, troubled = Health(), Health()
    full.begin("a", 0, "m", 2, 0)
    troubled.failed("b", 0, "m", AttemptFailed(FailureClass.SERVER_ERROR, ""), 0)
    ended = Candidate("a", "m", shutdown_date="2026-11-22")
    assert kept(A, BASE)
    assert kept(Candidate("a", "m", max_concurrency=2), health=full)
    assert not kept(Candidate("a", "m", max_concurrency=1), health=full)
    assert not kept(A, health=troubled)
    assert not kept(Candidate("a", "m", weight=1))
    assert not kept(Candidate("a", "m", credentials=2))
    assert not kept(ended, BASE)


def test_a_call_too_many_does_not_begin() -> None:
    health = Health()

    health.begin("a", 0, "m", 2, 0)
    health.begin("a", 0, "m", 2, 0)
    with pytest.raises(AttemptFailed) as refused:
        health.begin("a", 0, "m", 2, 0)
    assert (refused.value.failure, refused.value.hint) == (FailureClass.RATE_LIMITED, Hint.FULL)
    health.ended("a")
    assert health.in_flight("a") == 1
