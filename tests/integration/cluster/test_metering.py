"""Settlement, journals, sweeps and retention, each as on one server."""

from tests.integration.cluster.borrowing import borrowed
from tests.integration.metering import conftest, test_journal_and_store, test_retention, test_sweeping

globals().update(
    borrowed(
        conftest,
        test_journal_and_store,
        test_retention,
        test_sweeping,
        # `server` is this folder's. Who is killed here is killed in tests/integration/store.
        but={"server", "test_a_store_that_was_killed_gets_it_when_it_is_back"},
    )
)
