from typing import Any

import pytest

from gateway.control.not_available import refuse_unavailable
from gateway.domain.errors import InvalidRequest


@pytest.mark.parametrize("fields", [{"name": "x"}, {"cache_scope": "key"}, {"cache_scope": None}])
def test_what_asks_for_nothing_passes(fields: dict[str, Any]) -> None:
    refuse_unavailable(fields)


def test_what_this_version_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="not available in this version") as refused:
        refuse_unavailable({"cache_scope": "team"})
    assert refused.value.param == "cache_scope"
