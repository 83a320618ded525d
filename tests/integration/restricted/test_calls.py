"""Calls that are held to money, as the restricted user."""

from tests.integration.cluster.borrowing import borrowed
from tests.integration.dataplane import conftest, test_money

globals().update(borrowed(conftest, test_money))
