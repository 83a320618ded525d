"""The response cache as the admin API sees it: what it holds and saved, and how it is purged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from gateway.cache.port import CacheAway
from gateway.cache.scope import Scope
from gateway.control.usage_query import Period, UsageQuery
from gateway.control.usage_service import Usage, UsageService
from gateway.domain.principal import Principal
from gateway.store.address import ClusterAddress, parse_address
from gateway.store.cache_repository import CacheRepository
from gateway.store.client import Store
from gateway.store.errors import StoreAway, StoreError
from gateway.store.info import ServerFacts, server_facts
from gateway.store.places import CachePlace

ServerState = Literal["up", "away", "off"]


@dataclass(frozen=True, slots=True)
class CacheServer:
    """The cache's server.

    Args:
        where: its address, without user and password.
        state: "off" where it is the gateway's own, which nothing needs.
        is_shared: the same server keeps the ledger.
        facts: None where it does not tell, or is many.
    """

    where: str
    state: ServerState
    is_shared: bool
    facts: ServerFacts | None


class CacheService:
    """Asks the cache's server and the ledger's counters.

    Args:
        place: where the cache is.
        timeout_s: nobody's call waits for this, so a slow answer beats none.
        usage: the counters, which say what was saved.
        is_wanted: whether any alias may be answered from the cache now.
    """

    def __init__(
        self, place: CachePlace, timeout_s: float, usage: UsageService, is_wanted: Callable[[], bool]
    ) -> None:
        self._place = place
        self._address = parse_address(place.url)
        self._store = Store(place.url, timeout_s=timeout_s)
        self._purges = CacheRepository(self._store, is_shared=place.is_shared)
        self._usage = usage
        self._is_wanted = is_wanted
        self._opening = asyncio.Lock()
        self._is_open = False

    async def aclose(self) -> None:
        """Disconnect."""
        await self._store.aclose()

    async def server(self) -> CacheServer:
        """How the server is."""
        state: ServerState = "up"
        facts = None
        try:
            await self._open()
            await self._store.call("PING")
            if not isinstance(self._address, ClusterAddress):
                facts = await server_facts(self._store)
        except StoreAway:
            state = "away" if self._is_wanted() else "off"
        except (StoreError, KeyError):  # it may not, or does not, tell of itself
            facts = None
        return CacheServer(str(self._address), state, self._place.is_shared, facts)

    async def saved(self, period: Period) -> Usage:
        """Usage of a period by alias: requests, those of them that the cache answered, what that saved."""
        return await self._usage.usage(UsageQuery(period, ("alias",)))

    async def purge(self, alias: str | None, principal: Principal | None) -> None:
        """Make answers unfindable at once, for all replicas: an alias's, a key's scope's, both, or all.

        A server of the gateway's own that does not run holds nothing. Raises `StoreAway`.
        """
        aliases = [] if alias is None else [alias]
        scopes = set() if principal is None else {str(Scope(principal)), str(Scope(_alone(principal)))}
        try:
            await self._open()
            await self._purges.purge(aliases=aliases, scopes=sorted(scopes))
        except (StoreAway, CacheAway) as error:
            if self._is_wanted():
                raise StoreAway(str(error)) from error

    async def _open(self) -> None:
        """Connect at the first use: where no alias caches, there may be no server."""
        async with self._opening:
            if not self._is_open:
                self._is_open = True
                with suppress(StoreAway):  # it goes on trying
                    await self._store.open()


def _alone(principal: Principal) -> Principal:
    """The key by itself: what it was told before it shared with its team."""
    return replace(principal, cache_scope="key")
