"""Settlements in the journal come back as they were."""

import json

import pytest

from gateway.limits.values import Counters, Dimensions, Settlement
from gateway.metering.entry import decode_entry, encode_entry, request_id_of
from tests.unit.metering.made import settlement


def test_a_settlement_comes_back_as_it_was():
    given = settlement(alias="support", cost_nanousd=None, error_type="stream_truncated")
    assert decode_entry(encode_entry(given)) == given


def test_a_withdrawal_has_no_record():
    given = Settlement(
        request_id="req_1",
        key_id="07abcdefghij",
        state="withdrawn",
        record=b"",
        admitted_ms=1,
        counters=Counters(requests=0),
        dimensions=Dimensions("07abcdefghij"),
    )
    assert decode_entry(encode_entry(given)) == given


def test_it_is_one_line_that_a_human_can_read():
    given = settlement(alias="sup\nport")
    entry = encode_entry(given)
    assert b"\n" not in entry
    assert json.loads(entry)["record"] == json.loads(given.record)


def test_the_request_is_told_without_reading_the_rest():
    assert request_id_of(encode_entry(settlement("req_7"))) == "req_7"


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"settlement": {"request_id": 1}}', b"[", b"\xff"])
def test_another_form_is_a_value_error(payload):
    with pytest.raises(ValueError):
        decode_entry(payload)
    with pytest.raises(ValueError):
        request_id_of(payload)


def test_fields_of_a_newer_version_are_ignored():
    entry = json.loads(encode_entry(settlement()))
    entry["settlement"]["new"] = 1
    assert decode_entry(json.dumps(entry).encode()).request_id == "req_1"
