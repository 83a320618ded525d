"""Lines of the journal: what is read is what was written, or nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metering.lines import HEAD_BYTES, head, line, payload_of, position_of

payloads = st.binary(max_size=200).filter(lambda payload: b"\n" not in payload)


@given(payloads)
def test_a_line_gives_its_payload_back(payload):
    assert payload_of(line(payload)) == payload


@given(payloads, st.data())
def test_a_line_that_was_cut_is_none(payload, data):
    whole = line(payload)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert payload_of(whole[:cut]) is None


@given(payloads, st.data())
def test_a_line_with_one_bit_turned_is_none(payload, data):
    broken = bytearray(line(payload))
    broken[data.draw(st.integers(0, len(broken) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert payload_of(bytes(broken)) is None


def test_two_lines_in_one_are_none():
    assert payload_of(line(b"one")[:-1] + line(b"two")) is None


def test_a_payload_is_one_line():
    with pytest.raises(ValueError, match="one line"):
        line(b"two\nlines")


@given(st.integers(HEAD_BYTES, 2**63 - 1))
def test_a_head_tells_its_position(position):
    assert len(head(position)) == HEAD_BYTES
    assert position_of(head(position) + b"and more") == position


@given(st.integers(HEAD_BYTES, 2**40), st.data())
def test_a_damaged_head_stands_for_the_beginning(position, data):
    broken = bytearray(head(position))
    broken[data.draw(st.integers(0, HEAD_BYTES - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert position_of(bytes(broken)) == HEAD_BYTES


def test_an_empty_file_has_its_position_at_the_beginning():
    assert position_of(b"") == HEAD_BYTES
