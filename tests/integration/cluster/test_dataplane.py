"""A worker that limits, holds and settles, each as on one server."""

from tests.integration.cluster.borrowing import borrowed
from tests.integration.dataplane import conftest, test_limits, test_money, test_settlement

globals().update(borrowed(conftest, test_limits, test_money, test_settlement))
