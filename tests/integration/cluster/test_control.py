"""The admin API over keys and aliases, each as on one server."""

from tests.integration.cluster.borrowing import borrowed
from tests.integration.control import conftest, test_aliases, test_keys

globals().update(
    # FLUSHALL is for one node only.
    borrowed(conftest, test_aliases, test_keys, but={"test_a_store_that_lost_everything_gets_the_file_again"})
)
