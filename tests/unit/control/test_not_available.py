from typing import Any

import pytest

from gateway.control.not_available import refuse_unavailable
from gateway.domain.errors import InvalidRequest


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "x"},
        {"limits": None, "budget": None, "credit_usd": None, "max_output_tokens": None, "cache_scope": None},
        {"cache_scope": "key", "limits": {}},
        {"limits": {"rpm": 10**9, "tpm": 10**12, "concurrency": 10**6}},
        {"limits": {"rpm": None}},
    ],
)
def test_what_asks_for_nothing_passes(fields: dict[str, Any]) -> None:
    refuse_unavailable(fields)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"limits": {"rpm": 10**9 - 1}}, "limits"),
        ({"limits": {"rpm": 0}}, "limits"),
        ({"limits": {"tpm": None, "concurrency": 10**6 - 1}}, "limits"),
        ({"budget": {"usd": 5, "period": "day"}}, "budget"),
        ({"credit_usd": 0}, "credit_usd"),
        ({"max_output_tokens": 1}, "max_output_tokens"),
        ({"cache_scope": "team"}, "cache_scope"),
    ],
)
def test_what_this_version_does_not_have_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest, match="not available in this version") as refused:
        refuse_unavailable(fields)
    assert refused.value.param == param
