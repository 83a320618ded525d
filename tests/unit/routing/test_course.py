"""The course of a call: what is tried next after what failed, and when it ends. No clock runs here."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import AttemptFailed, FailureClass, Hint
from gateway.domain.plan import Attempt, Candidate, Plan
from gateway.routing.course import LONGEST_WAIT_S, PER_CALL, PER_TARGET, Course, Step, at_once

EVERY_CLASS = frozenset(str(each) for each in FailureClass)


def attempt(upstream: str, *, credentials: int = 1, step: int = 0, not_before: float = 0.0) -> Attempt:
    return Attempt(Candidate(upstream, "m", step=step), tuple(range(credentials)), not_before)


class Talk:
    """A course, and a clock that stands still unless the course waits."""

    def __init__(self, *attempts: Attempt, fallback_on: frozenset[str] = EVERY_CLASS, **options: Any) -> None:
        self.now = 100.0
        self.course = Course(Plan(attempts, ()), fallback_on, options.pop("patience_s", 60.0), **options)
        self.step: Step | None = None

    def next(self) -> str | None:
        """Upstream and credential of the next step, "b1" say, after its wait."""
        self.step = self.course.next(self.now, 1.0)
        if self.step is None:
            return None
        self.now += self.step.wait_s
        return f"{self.step.attempt.candidate.upstream}{self.step.credential}"

    def fails(self, failure: str, retry_after_s: float | None = None, hint: Hint | None = None) -> None:
        error = AttemptFailed(FailureClass(failure), "", retry_after_s=retry_after_s, hint=hint)
        assert self.step is not None
        self.course.failed(self.step.attempt, self.step.credential, error, self.now)

    def route(self, failure: str, **known: Any) -> list[str]:
        """All steps, where each fails alike."""
        steps = []
        while (name := self.next()) is not None:
            steps.append(name)
            self.fails(failure, **known)
        return steps


def test_targets_are_tried_in_order_then_again() -> None:
    assert Talk(attempt("a"), attempt("b")).route("server_error") == ["a0", "b0", "a0", "b0", "a0", "b0"]


@pytest.mark.parametrize("failure", ["connect", "server_error", "bad_response", "rate_limited"])
def test_one_target_is_tried_three_times(failure: str) -> None:
    assert Talk(attempt("a")).route(failure) == ["a0"] * 3


@pytest.mark.parametrize("failure", ["timeout", "model_not_found", "credential"])
def test_what_will_not_help_is_not_tried_again(failure: str) -> None:
    assert Talk(attempt("a"), attempt("b")).route(failure) == ["a0", "b0"]


def test_the_callers_own_mistake_ends_it() -> None:
    assert Talk(attempt("a"), attempt("b")).route("rejected") == ["a0"]


def test_a_class_that_is_not_named_stays_at_its_target() -> None:
    talk = Talk(attempt("a"), attempt("b"), fallback_on=frozenset({"timeout"}))
    assert talk.route("server_error") == ["a0"] * 3


def test_a_refused_credential_always_moves_on() -> None:
    talk = Talk(attempt("a", credentials=2), attempt("b"), fallback_on=frozenset())
    assert talk.route("credential") == ["a0", "a1", "b0"]


def test_the_pause_before_a_retry_grows() -> None:
    talk = Talk(attempt("a"))
    waits = []
    while talk.next() is not None:
        assert talk.step is not None
        waits.append((talk.step.wait_s, talk.step.is_retry))
        talk.fails("server_error")
    assert waits == [(0.0, False), (0.25, True), (0.5, True)]


class TestRateLimits:
    def test_other_credentials_then_other_targets_come_before_waiting(self) -> None:
        talk = Talk(attempt("a", credentials=2), attempt("b"))
        route = talk.route("rate_limited", retry_after_s=2.0)
        assert route[:3] == ["a0", "a1", "b0"]
        assert route[3] == "a0"
        assert len(route) == PER_CALL

    def test_the_time_that_the_upstream_named_is_waited_for(self) -> None:
        talk = Talk(attempt("a"))
        talk.next()
        talk.fails("rate_limited", retry_after_s=3.0)
        assert talk.next() == "a0"
        assert talk.now == 103.0

    def test_but_not_for_long(self) -> None:
        assert Talk(attempt("a")).route("rate_limited", retry_after_s=LONGEST_WAIT_S + 1) == ["a0"]

    def test_nor_for_long_in_all(self) -> None:
        assert Talk(attempt("a")).route("rate_limited", retry_after_s=6.0) == ["a0", "a0"]

    def test_nor_beyond_the_deadline_of_the_call(self) -> None:
        assert Talk(attempt("a"), deadline=102.0).route("rate_limited", retry_after_s=3.0) == ["a0"]

    def test_too_large_for_a_limit_never_goes_to_the_same_credential(self) -> None:
        talk = Talk(attempt("a", credentials=2), attempt("b"))
        assert talk.route("rate_limited", hint=Hint.TOO_LARGE) == ["a0", "a1", "b0"]

    def test_a_target_that_cools_down_is_waited_for_where_nothing_else_is_left(self) -> None:
        talk = Talk(attempt("a", not_before=104.0))
        assert talk.next() == "a0"
        assert talk.now == 104.0

    def test_or_not_tried_at_all_where_that_takes_too_long(self) -> None:
        assert Talk(attempt("a", not_before=120.0)).next() is None


class TestLoading:
    def test_a_model_that_is_being_loaded_is_waited_for_where_it_is(self) -> None:
        talk = Talk(attempt("a"), attempt("b"), patience_s=30.0)
        talk.next()
        for _ in range(10):
            talk.fails("rate_limited", hint=Hint.LOADING)
            assert talk.next() == "a0"
        assert talk.now == 110.0
        assert talk.course.failures == []

    def test_as_long_as_a_first_token_may_take(self) -> None:
        talk = Talk(attempt("a"), attempt("b"), patience_s=3.0)
        talk.next()
        talk.fails("rate_limited", hint=Hint.LOADING)
        asked_at = []
        while talk.next() == "a0":
            asked_at.append(talk.now)
            talk.fails("rate_limited", hint=Hint.LOADING)
        assert asked_at == [101.0, 102.0, 103.0]
        assert talk.step is not None
        assert talk.step.attempt.candidate.upstream == "b"

    def test_as_long_as_the_upstream_says(self) -> None:
        talk = Talk(attempt("a"))
        talk.next()
        talk.fails("rate_limited", retry_after_s=7.0, hint=Hint.LOADING)
        assert talk.next() == "a0"
        assert talk.now == 107.0


class TestHedging:
    def test_the_second_attempt_goes_to_another_upstream_of_the_same_model(self) -> None:
        talk = Talk(attempt("a"), attempt("b"), attempt("c", step=1))
        talk.next()
        assert talk.step is not None
        assert talk.course.hedge(talk.step).attempt.candidate.upstream == "b"

    def test_else_to_the_same_one(self) -> None:
        talk = Talk(attempt("a"), attempt("c", step=1))
        talk.next()
        assert talk.step is not None
        assert talk.course.hedge(talk.step).attempt.candidate.upstream == "a"

    def test_when_both_fail_the_course_goes_on(self) -> None:
        talk = Talk(attempt("a"), attempt("b"), attempt("c", step=1))
        talk.next()
        assert talk.step is not None
        hedge = talk.course.hedge(talk.step)
        talk.fails("server_error")
        talk.step = hedge
        talk.fails("timeout")
        assert talk.next() == "c0"


@given(
    targets=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 1)), min_size=1, max_size=4),
    failures=st.lists(
        st.tuples(
            st.sampled_from(list(FailureClass)),
            st.sampled_from([None, 0.5, 3.0, 50.0]),
            st.sampled_from([None, None, Hint.TOO_LARGE, Hint.FULL, Hint.LOADING]),
        ),
        min_size=60,
        max_size=60,
    ),
    fallback_on=st.sets(st.sampled_from(sorted(EVERY_CLASS))),
)
def test_every_course_ends_within_its_bounds(targets: Any, failures: Any, fallback_on: set[str]) -> None:
    attempts = [attempt(f"u{n}", credentials=c, step=s) for n, (c, s) in enumerate(targets)]
    talk = Talk(*attempts, fallback_on=frozenset(fallback_on), patience_s=5.0)
    tries: dict[str, int] = {}
    counted = 0
    for failure, wait, hint in failures:
        if (name := talk.next()) is None:
            break
        known = hint if failure is FailureClass.RATE_LIMITED else None
        talk.fails(failure.value, wait, known)
        if known is not Hint.LOADING:
            counted += 1
            tries[name] = tries.get(name, 0) + 1
    else:
        raise AssertionError("it did not end")
    assert counted <= PER_CALL
    assert all(count <= PER_TARGET for count in tries.values())
    assert talk.now <= 100.0 + LONGEST_WAIT_S + 5.0 * len(targets) + 5.0


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(1, 2), st.sampled_from([0.0, 0.0, 101.0])), max_size=3
    ),
    st.lists(st.sampled_from(sorted(FailureClass)), min_size=8, max_size=8),
)
def test_a_first_step_without_a_course(
    targets: list[tuple[str, int, float]], failures: list[FailureClass]
) -> None:
    """A call whose first step was taken at once goes on as if the course had said it."""
    attempts = tuple(attempt(name, credentials=n, not_before=at) for name, n, at in targets)

    def steps(talk: Talk) -> list[str | None]:
        taken = []
        for failure in failures:
            taken.append(talk.next())
            if talk.step is None:
                break
            talk.fails(failure)
        return taken

    first = at_once(Plan(attempts, ()))
    usual = steps(Talk(*attempts))
    if first is None:
        assert not attempts or attempts[0].not_before
        return
    talk = Talk(*attempts, begun=True)
    talk.step = Step(first, first.credentials[0])
    talk.fails(failures[0])
    failures.pop(0)
    assert [f"{first.candidate.upstream}{first.credentials[0]}", *steps(talk)] == usual


def test_the_end_of_a_course() -> None:
    talk = Talk(attempt("a"))
    assert talk.next() == "a0"
    talk.fails("server_error")
    talk.course.end()
    assert talk.next() is None
