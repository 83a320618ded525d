"""No answer crosses a tenant's border; no question gets another one's answer. A million by hand:
`python3 dev.py chaos cache_isolation`."""

from gateway.cache.scope import Scope
from tests.support.isolation import questions, tenants


class _Everyone(Scope):
    """A scope that forgot whose it is."""

    def __str__(self) -> str:
        return "everyone"


def test_two_tenants_share_nothing() -> None:
    found = tenants(2000, seed=1)

    assert not found.hits
    assert not found.missed
    assert found.pairs == found.controls == 2000


def test_a_shared_scope_would_be_noticed() -> None:
    assert tenants(200, seed=1, scope_of=_Everyone).hits


def test_two_questions_share_no_answer() -> None:
    found = questions(2000, seed=1)

    assert not found.hits
    assert not found.missed
