"""Settlements, sweeps, retention and the readers of the ledger, as the restricted user."""

from tests.integration.cluster.borrowing import borrowed
from tests.integration.metering import conftest, test_retention, test_sweeping
from tests.integration.usage import conftest as of_usage
from tests.integration.usage import test_events

globals().update(borrowed(conftest, test_retention, test_sweeping, of_usage, test_events, but={"server"}))
