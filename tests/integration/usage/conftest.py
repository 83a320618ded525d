import pytest

from gateway.store.client import Store
from tests.integration.usage.records import Book


@pytest.fixture
def book(store: Store) -> Book:
    """The ledger of the test's store."""
    return Book(store)
