"""Circuits: when one opens, who may probe, and when it closes."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.circuit import Circuit, Rule

RULE = Rule(in_a_row=3, rest_s=5.0, share=0.5, least_calls=10, window_s=30.0)


def opened(at: float = 0.0) -> Circuit:
    circuit = Circuit()
    assert [circuit.failed(RULE, at) for _ in range(3)] == [False, False, True]
    return circuit


def test_failures_in_a_row_open_it() -> None:
    assert opened().state(0.0) == "open"


def test_a_success_between_them_does_not() -> None:
    circuit = Circuit()
    for _ in range(3):
        circuit.failed(RULE, 0)
        circuit.failed(RULE, 0)
        circuit.succeeded(RULE, 0)
    assert circuit.state(0) == "closed"


def test_a_share_of_the_windows_calls_opens_it() -> None:
    circuit = Circuit()
    for _ in range(4):
        circuit.succeeded(RULE, 0)
        circuit.failed(RULE, 0)
    circuit.succeeded(RULE, 0)
    assert circuit.failed(RULE, 0)


def test_a_window_that_is_over_says_nothing() -> None:
    circuit = Circuit()
    for _ in range(4):
        circuit.succeeded(RULE, 0)
        circuit.failed(RULE, 0)
    circuit.succeeded(RULE, 30)
    assert not circuit.failed(RULE, 30)


def test_one_call_at_a_time_may_probe_after_the_rest() -> None:
    circuit = opened()
    assert [circuit.may_pass(now) for now in (0.0, 4.9, 5.0)] == [False, False, True]
    circuit.began(RULE, 5.0)
    assert not circuit.may_pass(5.1)
    assert circuit.state(5.1) == "half_open"


def test_a_probe_that_succeeds_closes_it() -> None:
    circuit = opened()
    circuit.began(RULE, 5.0)
    assert circuit.succeeded(RULE, 5.5)
    assert circuit.state(5.5) == "closed"
    assert not circuit.failed(RULE, 5.5)


def test_a_probe_that_fails_lets_it_rest_again() -> None:
    circuit = opened()
    circuit.began(RULE, 5.0)
    assert circuit.failed(RULE, 5.5)
    assert [circuit.may_pass(now) for now in (5.5, 10.4, 10.5)] == [False, False, True]
    assert circuit.rests_s(8.5) == 2.0


def test_calls_that_were_under_way_when_it_opened_do_not_prolong_the_rest() -> None:
    circuit = opened()
    assert not circuit.failed(RULE, 4.0)
    assert circuit.may_pass(5.0)


def test_a_probe_that_never_ends_gives_way_to_another() -> None:
    circuit = opened()
    circuit.began(RULE, 5.0)
    assert [circuit.may_pass(now) for now in (9.9, 10.0)] == [False, True]


def test_a_probe_that_says_nothing_gives_its_place_back() -> None:
    circuit = opened()
    circuit.began(RULE, 5.0)
    circuit.gave_up()
    assert circuit.may_pass(5.1)


def test_one_that_is_suspect_opens_at_its_first_failure() -> None:
    circuit = Circuit()
    circuit.suspect(RULE)
    assert circuit.may_pass(0)
    assert circuit.failed(RULE, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["began", "failed", "succeeded", "gave_up"]), st.integers(0, 28)),
        max_size=60,
    )
)
def test_it_always_lets_something_pass_again(events: list[tuple[str, int]]) -> None:
    circuit, now = Circuit(), 0.0
    for event, later in events:
        now += later / 4  # exact in binary
        if event == "gave_up":
            circuit.gave_up()
        elif event == "began":
            if circuit.may_pass(now):
                circuit.began(RULE, now)
        else:
            getattr(circuit, event)(RULE, now)
    assert circuit.rests_s(now) <= RULE.rest_s
    assert circuit.may_pass(now + RULE.rest_s)
