"""A client for tests whose user may do no more than the gateway's."""

from typing import Any

from gateway.store.client import Store
from tests.support.valkey import ValkeyServer

BESIDE = {"FLUSHALL", "HLEN", "KEYS", "OBJECT", "TTL", "TYPE", "XLEN"}
"""What tests ask, or do, and the gateway does not: it goes the server's own way."""


class Onlooker(Store):
    """The client under test, and what a test wants to know beside it."""

    def __init__(self, server: ValkeyServer, *, timeout_s: float) -> None:
        super().__init__(server.url, timeout_s=timeout_s)
        self._server = server

    async def call(self, *args: str | bytes | int, timeout_s: float | None = None) -> Any:
        if args[0] in BESIDE:
            return self._server.run(*args)
        return await super().call(*args, timeout_s=timeout_s)
