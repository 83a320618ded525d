"""The decoder: any cutting of the same bytes yields the same events."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.relay.sse import Event, SSEDecoder, parse

LINE_ENDS = (b"\n", b"\r", b"\r\n")
VALUES = st.sampled_from(
    [
        b"",
        b" ",
        b"x",
        b'{"a":1}',
        '{"t":"é\u2028\u0085x"}'.encode(),
        b"[DONE]",
        b": ping",
        b"\xf0\x9f\x98\x80",
        b"  two",
    ]
)
FIELDS = st.sampled_from(
    [b"data: ", b"data:", b"data", b"event: ", b"id: ", b"retry: ", b": ", b":", b"other: ", b""]
)


@st.composite
def wires(draw: st.DrawFn) -> bytes:
    """A stream of odd and regular lines, each ended in its own manner."""
    lines = draw(st.lists(st.tuples(FIELDS, VALUES, st.sampled_from(LINE_ENDS)), max_size=30))
    wire = b"".join(field + value + end for field, value, end in lines)
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + wire


def decode(wire: bytes, cuts: list[int]) -> list[Event]:
    decoder = SSEDecoder()
    events = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        events += decoder.feed(wire[start:end])
    return events + [parse(raw) for raw in decoder.close()]


@settings(max_examples=10_000, deadline=None)
@given(wires(), st.data())
def test_no_cut_changes_the_events(wire: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))

    assert decode(wire, cuts) == decode(wire, [])


@settings(max_examples=500, deadline=None)
@given(wires())
def test_one_byte_at_a_time_is_no_different(wire: bytes) -> None:
    assert decode(wire, list(range(1, len(wire)))) == decode(wire, [])


@pytest.mark.parametrize("end", LINE_ENDS)
def test_lines_end_at_cr_lf_and_crlf(end: bytes) -> None:
    events = decode(b"data: a" + end + b"data: b" + end + end + b"data: c" + end + end, [])

    assert [event.data for event in events] == [(b"a", b"b"), (b"c",)]


def test_other_separators_of_unicode_end_no_line() -> None:
    text = "data: a\u2028b\u2029c\u0085d\x0be\n\n".encode()

    [event] = decode(text, [])

    assert event.text == text[6:-2]


def test_a_byte_order_mark_is_no_part_of_the_first_event() -> None:
    assert decode(b"\xef\xbb\xbfdata: a\n\n", [1])[0].data == (b"a",)


def test_an_event_that_never_ends_is_refused() -> None:
    decoder = SSEDecoder(max_event_bytes=100)
    decoder.feed(b"data: " + b"x" * 90)

    assert decoder.feed(b"x" * 90) == []
    assert decoder.is_overlong
    assert decoder.feed(b"\n\ndata: y\n\n") == []
