"""What the embedded servers are started with."""

from pathlib import Path

import pytest

from gateway.supervisor.recipes import cache_recipe, store_recipe


def test_the_stores_allocator_keeps_what_a_script_frees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    environment = store_recipe(Path("data"), "always").environment
    assert environment["GLIBC_TUNABLES"] == "glibc.malloc.tcache_count=100"
    assert environment["TZ"] == "UTC"
    assert "GLIBC_TUNABLES" not in cache_recipe(Path("data"), 1 << 20).environment


def test_who_tunes_the_allocator_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=3")
    assert store_recipe(Path("data"), "always").environment["GLIBC_TUNABLES"] == "glibc.malloc.check=3"
