import pytest

from gateway.domain.trace import TraceContext, parse_trace

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_what_is_handed_on_is_what_came() -> None:
    trace = parse_trace(PARENT, b"vendor=a,other=b")
    assert trace is not None
    assert trace.is_sampled
    assert trace.child() is trace
    assert trace.headers() == ((b"traceparent", PARENT), (b"tracestate", b"vendor=a,other=b"))


def test_a_later_version_may_say_more_and_is_answered_in_ours() -> None:
    trace = parse_trace(b"cc" + PARENT[2:] + b"-what-the-future-brings", None)
    assert trace is not None
    assert trace.headers() == ((b"traceparent", PARENT),)


@pytest.mark.parametrize(
    "parent",
    [
        b"",
        b"ff" + PARENT[2:],
        PARENT + b"-more",
        PARENT.upper(),
        PARENT[:-1],
        PARENT + b"\r\nx-evil: 1",
        b"00-" + b"0" * 32 + PARENT[35:],
        PARENT[:36] + b"0" * 16 + b"-01",
        PARENT + b"," + PARENT,
    ],
)
def test_what_is_malformed_is_no_trace(parent: bytes) -> None:
    assert parse_trace(parent, b"vendor=a") is None


@pytest.mark.parametrize("state", [b"", b"a=" + b"x" * 600, b"a=\x00", b"a=1\r\nx-evil: 1"])
def test_a_state_that_is_malformed_is_left_out(state: bytes) -> None:
    trace = parse_trace(PARENT, state)
    assert trace is not None
    assert trace.headers() == ((b"traceparent", PARENT),)


def test_a_span_of_ours_is_the_parent_of_its_calls() -> None:
    own = TraceContext("a" * 32, "b" * 16, None, 1, None, is_ours=True)
    child = own.child()
    assert (child.trace_id, child.parent_id) == (own.trace_id, own.span_id)
    assert child.span_id not in (own.span_id, own.child().span_id)
