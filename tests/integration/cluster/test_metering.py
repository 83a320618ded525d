"""Settlement, journals, sweeps and retention, each as on one server."""

from tests.integration.cluster.borrowing import borrowed
from tests.integration.metering import conftest, test_journal_and_store, test_retention, test_sweeping

globals().update(
    borrowed(
        conftest,
        test_journal_and_store,
        test_retention,
        test_sweeping,
        # `server` is this folder's. Nodes are killed in tests/integration/store. A long backlog measures the
        # disk, which is the same here.
        but={
            "server",
            "test_a_long_backlog_is_replayed_in_a_moment",
            "test_a_store_that_was_killed_gets_it_when_it_is_back",
        },
    )
)
