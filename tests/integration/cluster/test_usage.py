"""Reading the ledger and the counters, each as on one server."""

from tests.integration.cluster.borrowing import borrowed
from tests.integration.usage import conftest, test_events

globals().update(borrowed(conftest, test_events))
