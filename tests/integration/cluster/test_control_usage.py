"""Usage of many shards, each as on one server."""

from tests.integration.cluster.borrowing import borrowed
from tests.integration.control import conftest, test_usage

# What is left out takes seconds, and is the same in small.
globals().update(borrowed(conftest, test_usage, but={"test_all_time_may_be_asked_for"}))
