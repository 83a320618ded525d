"""Keys and aliases through the admin API, as the restricted user."""

from tests.integration.cluster.borrowing import borrowed
from tests.integration.control import conftest, test_aliases, test_keys

globals().update(borrowed(conftest, test_aliases, test_keys))
