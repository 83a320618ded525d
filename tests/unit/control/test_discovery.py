import json
from typing import Any

import pytest

from gateway.control.discovery import parse_models
from gateway.domain.errors import AttemptFailed


def body(*entries: Any) -> bytes:
    return json.dumps({"object": "list", "data": entries}).encode()


def test_models_come_in_order_and_with_their_official_fields_only() -> None:
    listed = body(
        {"id": "b", "object": "model", "owned_by": "acme", "permission": [1], "shutdown_date": "2027-01-01"},
        {"id": "a", "created": 5},
    )
    assert parse_models(listed) == [
        {"id": "a", "created": 5},
        {"id": "b", "object": "model", "owned_by": "acme", "shutdown_date": "2027-01-01"},
    ]


def test_what_is_no_model_object_is_passed_over() -> None:
    assert parse_models(body({"id": "a"}, {"id": 5}, {}, "b", None, {"id": ""}, {"id": "a"})) == [{"id": "a"}]


@pytest.mark.parametrize("text", [b"", b"<html>", b"[]", b'{"data": null}', b'{"error": {}}', b"\xff"])
def test_a_list_that_is_none_is_a_bad_response(text: bytes) -> None:
    with pytest.raises(AttemptFailed) as failed:
        parse_models(text)
    assert failed.value.failure == "bad_response"
