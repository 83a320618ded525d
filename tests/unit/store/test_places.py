"""Which server has what: the cache's is never the ledger's by oversight."""

from pathlib import Path

import pytest

from gateway.config.static import StoreSettings
from gateway.store.places import cache_place, store_url
from gateway.supervisor.paths import embedded_cache_socket, embedded_socket

DATA = Path("/var/lib/tunegate")


def test_the_embedded_store_has_a_second_server_beside_it() -> None:
    settings = StoreSettings(data_dir=DATA)
    assert store_url(settings) == f"unix://{embedded_socket(DATA)}"
    assert cache_place(settings) == (f"unix://{embedded_cache_socket(DATA)}", False, 0.05)


def test_so_may_a_store_elsewhere() -> None:
    settings = StoreSettings(url="redis://h", cache_url="embedded", data_dir=DATA, timeout_ms=300)
    assert store_url(settings) == "redis://h"
    assert cache_place(settings) == (f"unix://{embedded_cache_socket(DATA)}", False, 0.15)


@pytest.mark.parametrize(
    ("url", "cache_url", "is_shared"),
    [
        ("redis://h", None, True),
        ("redis://h/0", "redis://u:p@h:6379/1", True),
        ("redis://h", "redis://h:6380", False),
        ("redis://h", "rediss://other", False),
        ("unix:///a.sock", "unix:///a.sock?db=2", True),
        ("unix:///a.sock", "unix:///b.sock", False),
        ("unix:///a.sock", "redis://localhost", False),
        ("redis+cluster://a:1,b:1", "redis+cluster://b:1,c:1", True),
        ("redis+cluster://a:1,b:1", "redis://c:1", False),
        ("redis+sentinel://a,b/ledger", "redis+sentinel://a,b/cache", False),
        ("redis+sentinel://a,b/ledger", "redis+sentinel://b,c/ledger/1", True),
        ("embedded", "redis://h", False),
    ],
)
def test_one_server_under_two_names_is_shared(url: str, cache_url: str | None, is_shared: bool) -> None:
    place = cache_place(StoreSettings(url=url, cache_url=cache_url, data_dir=DATA))
    assert place.url == (cache_url or url)
    assert place.is_shared == is_shared
