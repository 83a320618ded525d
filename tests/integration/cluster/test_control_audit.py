"""The audit of the counters of many shards, each as on one server."""

from tests.integration.cluster.borrowing import borrowed
from tests.integration.control import conftest, test_usage_audit

# What is left out looks at everything by KEYS, which tells of one node only.
globals().update(
    borrowed(conftest, test_usage_audit, but={"test_every_kind_of_difference_is_told_and_repaired"})
)
