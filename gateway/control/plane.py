"""The composition root of the control process: the one file of this room where all its parts meet.

Constructing does no I/O; `open` does, `run` follows changes until it is cancelled, `aclose` undoes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from gateway.auth.virtual_key import configured_secret
from gateway.config import UpstreamSettings, load
from gateway.control.active_text import Overrides
from gateway.control.admin_key import AdminAuth, configured_admin_key, new_admin_key
from gateway.control.advice import Advice
from gateway.control.alias_service import AliasService
from gateway.control.app import create_app, framed
from gateway.control.cache_service import CacheService
from gateway.control.cache_wish import CacheWish
from gateway.control.discovery import EVERY_S, Discovery
from gateway.control.key_service import KeyService
from gateway.control.ledger_keeping import LedgerKeeping
from gateway.control.link import WorkerLink
from gateway.control.probe.service import Probing
from gateway.control.reload import ConfigReloader
from gateway.control.snapshot import SnapshotKeeper
from gateway.control.sunset_keeping import SunsetKeeping
from gateway.control.usage_part import usage_routers
from gateway.control.usage_service import UsageService
from gateway.store.accounts import AccountStore
from gateway.store.alias_repository import AliasRepository
from gateway.store.client import Store, settling_store
from gateway.store.errors import StoreAway, StoreError
from gateway.store.health_repository import HealthRepository
from gateway.store.key_repository import KeyRepository
from gateway.store.places import cache_place, store_url
from gateway.store.secret_repository import SecretRepository
from gateway.store.usage import UsageReader
from gateway.telemetry.counters import Counters
from gateway.telemetry.exposition import Registry
from gateway.telemetry.metrics import CACHE, KEY_GUESSES
from gateway.upstream.client import UpstreamClient, make_client
from gateway.upstream.entra import EntraTokens
from gateway.upstream.transports import Transports

log = structlog.get_logger(__name__)

STORE_TIMEOUT_S = 2.0
"""Nothing here is on the path of a call, so a slow answer of the store beats none."""

STORE_WAIT_S = 10.0
"""How long a start waits for the store; then it is served without it and joined when it comes."""

FIRST_LOOK_S = 3.0
"""How long a start waits for upstreams to list their models."""

YOUNG_S = 3600.0
"""How often the runtime directory is touched; sweepers commonly spare what is younger than ten days."""

_RETRY_S = 0.1
_NOTICE_S = 0.2  # how long a reload may go unnoticed by discovery


class ControlPlane:
    """Everything that a control process runs, apart from its server and its signals.

    Args:
        text: the active configuration, read with relative paths from the folder of `path`.
        path: the operator's file.
        runtime: the gateway's runtime directory.
        overrides: values of the command line, which beat the file's.
        environment: variables of the file, and the secrets that the operator gives.
        start_cache: asks for the embedded server of the response cache, once it is wanted.
    """

    def __init__(
        self,
        text: str,
        path: Path,
        runtime: Path,
        overrides: Overrides,
        environment: Mapping[str, str],
        start_cache: Callable[[], None] = lambda: None,
    ) -> None:
        settings = load(text, base=path.parent, env=environment, name=str(path))
        self._runtime = runtime
        self._configured_admin_key = configured_admin_key(environment)
        self._configured_secret = configured_secret(environment)
        self._secret: bytes | None = None
        self._transports = Transports()
        self._tokens = EntraTokens()
        self._store = Store(store_url(settings.store), timeout_s=STORE_TIMEOUT_S)
        self._settling = settling_store(
            store_url(settings.store),
            replicas=settings.store.wait_replicas,
            within_s=settings.store.settle_timeout_ms / 1000,
        )
        self._secrets = SecretRepository(self._store)
        aliases = AliasRepository(self._store)
        self.metrics = Registry()
        self._counters = Counters()
        instance = secrets.token_hex(8)
        self.link = WorkerLink(runtime / "control.sock", instance, self.metrics)
        self._advice = Advice(self.link, HealthRepository(self._store, instance))
        self.keeper = SnapshotKeeper(aliases, self.link.push, text, settings, time.time)
        self.reloader = ConfigReloader(
            path, runtime / "active.yaml", overrides, environment, self.keeper, self.link
        )
        self._discovery = Discovery(aliases, self._client_of)
        self._ledger = LedgerKeeping(
            self._store,
            Path(settings.store.data_dir),
            lambda: self.keeper.settings.ledger.retention_days,
            self._counters,
            self._settling,
        )
        self._sunset = SunsetKeeping(aliases, self.keeper, self._counters, time.time)
        self._cache_wish = CacheWish(
            self.keeper, start_cache if settings.store.cache_embedded else lambda: None
        )
        self._cache = CacheService(
            cache_place(settings.store),
            STORE_TIMEOUT_S,
            UsageService(UsageReader(self._store), time.time),
            self._cache_wish.is_wanted,
        )
        auth = AdminAuth(
            self._configured_admin_key,
            self._secrets,
            time.monotonic,
            on_refused=lambda: self._counters.inc(KEY_GUESSES, ("control",)),
        )
        self.api = create_app(
            keys=KeyService(
                KeyRepository(self._store),
                AccountStore(self._store),
                self._gateway_secret,
                time.time,
                secrets.randbelow,
            ),
            aliases=AliasService(aliases, self.keeper, self.link, time.time),
            keeper=self.keeper,
            link=self.link,
            reloader=self.reloader,
            probing=Probing(self.keeper, self._client_of),
            usage=usage_routers(self._store, lambda: self.keeper.settings.ledger.retention_days, time.time),
            cache=self._cache,
            cache_results=lambda: {
                labels[0]: int(count) for labels, count in self.metrics.counted(CACHE).items()
            },
            render_metrics=self._render_metrics,
            clock=time.time,
            monotonic=time.monotonic,
        )
        self.app = framed(self.api, auth, metrics_auth=settings.admin.metrics_auth)

    async def open(self) -> str | None:
        """Listen for workers, meet the store, look at upstreams; returns the admin key if this made it.

        A store that does not come in time is waited for in `run`.
        """
        await self.link.open()
        await self._tokens.open(0.0)  # nothing here calls at once
        try:
            async with asyncio.timeout(STORE_WAIT_S):
                made = await self._meet_store()
        except (TimeoutError, StoreError) as error:
            log.warning("the store is away at the start; waiting for it", error=str(error))
            return None
        await self._first_look()
        return made

    async def run(self) -> None:
        """Follow changes of aliases, file and upstreams, for ever."""
        if self.keeper.current is None:
            made = await self._meet_store()
            if made is not None:  # too late for the supervisor's line, and it is shown only once
                print(f"admin key: {made}", flush=True)  # noqa: T201  # for people
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.keeper.watch())
            tasks.create_task(self.reloader.watch())
            tasks.create_task(self._keep_looking())
            tasks.create_task(self._keep_young())
            tasks.create_task(self._ledger.run())
            tasks.create_task(self._advice.run())
            tasks.create_task(self._sunset.run())
            tasks.create_task(self._cache_wish.run())

    async def aclose(self) -> None:
        """Close every connection."""
        await self.link.aclose()
        await self._tokens.aclose()
        await self._transports.aclose()
        await self._ledger.aclose()
        await self._cache.aclose()
        if self._settling is not None:
            await self._settling.aclose()
        await self._store.aclose()

    def _render_metrics(self, accept: str) -> tuple[bytes, str]:
        """What the workers have counted, and this process."""
        self.metrics.apply("control", self._counters.take_delta())
        return self.metrics.render(accept)

    async def _meet_store(self) -> str | None:
        """Wait for the store, agree with other replicas on the admin key, read the aliases."""
        is_open = False
        while True:
            try:
                if not is_open:
                    is_open = True  # a failed open goes on trying by itself
                    if self._settling is not None:
                        with contextlib.suppress(StoreAway):
                            await self._settling.open()
                    await self._store.open()
                made = await self._make_admin_key()
                await self.keeper.refresh()
            except StoreAway:
                await asyncio.sleep(_RETRY_S)
                continue
            return made

    async def _make_admin_key(self) -> str | None:
        if self._configured_admin_key is not None:
            return None
        key = new_admin_key()
        return key if await self._secrets.offer_admin_key(key) else None

    def _client_of(self, name: str, upstream: UpstreamSettings) -> UpstreamClient:
        return make_client(name, upstream, self._transports, self._runtime, self._tokens)

    async def _gateway_secret(self) -> bytes:
        if self._secret is None:
            self._secret = self._configured_secret or await self._secrets.gateway_secret(
                secrets.token_hex(32)
            )
        return self._secret

    async def _first_look(self) -> None:
        """Learn what upstreams serve before the first call. The demo upstream may still be starting."""
        try:
            async with asyncio.timeout(FIRST_LOOK_S):
                while not await self._look():  # noqa: ASYNC110  # a look is no event
                    await asyncio.sleep(_RETRY_S)
        except (TimeoutError, StoreError) as error:
            log.warning("not every upstream has listed its models yet", error=str(error))

    async def _keep_young(self) -> None:
        """Touch what stands in the runtime directory: temporary folders are swept of old files."""
        while True:
            for path in (self._runtime, *self._runtime.iterdir()):
                with contextlib.suppress(OSError):
                    os.utime(path)
            await asyncio.sleep(YOUNG_S)

    async def _look(self) -> bool:
        snapshot = self.keeper.current
        known = snapshot.discovered if snapshot is not None else {}
        all_answered = await self._discovery.look(self.keeper.settings, known)
        await self.keeper.refresh()
        return all_answered

    async def _keep_looking(self) -> None:
        """Look again every few minutes, and as soon as the configuration has changed."""
        looked_at, settings = time.monotonic(), self.keeper.settings
        while True:
            await asyncio.sleep(_NOTICE_S)
            if self.keeper.settings is settings and time.monotonic() - looked_at < EVERY_S:
                continue
            looked_at, settings = time.monotonic(), self.keeper.settings
            try:
                await self._look()
            except StoreError as error:
                log.warning("upstreams' models cannot be kept while the store is away", error=str(error))
