"""The composition root of a data-plane worker: the one file where all rooms meet.

`create_worker(...)` builds every object and hands each its collaborators. Constructing does no I/O; `open`
does, and `aclose` undoes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

from gateway.accounting.desk import AccountDesk
from gateway.attempts.runner import Attempts
from gateway.auth.guesses import Guesses
from gateway.auth.keyring import Keyring
from gateway.cached_calls import CachedCalls
from gateway.catalog import StoredAlias
from gateway.config.loader import load
from gateway.edge.app import DataPlane
from gateway.edge.key_status import KeyStatus
from gateway.edge.protocol import Bounds, RequestIds
from gateway.edge.render import render
from gateway.gate import Gate
from gateway.health_watch import HealthWatch
from gateway.limits.local import LocalLimiter
from gateway.link import State
from gateway.metering.journal import Journal
from gateway.metering.meter import CLOSE_S, Meter
from gateway.metering.provisions import Provisions
from gateway.metering.rejected import Rejected
from gateway.observer import RequestObserver
from gateway.pipeline import CallService
from gateway.readiness import WorkerReadiness
from gateway.routing.health import Health, UpstreamReport
from gateway.snapshot import Snapshots, make_snapshot
from gateway.store.accounts import AccountStore
from gateway.store.alias_repository import AliasRepository
from gateway.store.cache_repository import CacheRepository
from gateway.store.client import Store, settling_store
from gateway.store.errors import StoreError
from gateway.store.key_source import StoreKeySource
from gateway.store.places import cache_place, store_url
from gateway.store.secret_repository import SecretRepository
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import (
    CACHE,
    IN_FLIGHT,
    JOURNAL_PENDING,
    KEY_GUESSES,
    LIMIT_REJECTIONS,
    SETTLEMENTS,
    STORE_AWAY,
    STORE_ERRORS,
    WORKER_STARTS,
    WORKERS,
)
from gateway.tracing import make_tracing
from gateway.upstream.entra import EntraTokens
from gateway.upstream.transports import Transports

log = structlog.get_logger(__name__)

_STORE_RETRY_S = 0.2
_TOKENS_S = 5.0
"""How long a start waits for tokens of Entra; a cold credential takes about a second."""


class Worker:
    """All that a worker process runs but its server and its signals. Make it with `create_worker`."""

    def __init__(
        self,
        text: str,
        base: Path,
        name: str,
        env: Mapping[str, str],
        runtime: Path,
        loop: asyncio.AbstractEventLoop,
        access_log: AccessLog,
    ) -> None:
        settings = load(text, base=base, env=env, name=name)
        self._base, self._name, self._env = base, name, env
        self._runtime = runtime
        self._given_secret = env.get("TUNEGATE_SECRET") or None
        self._secret: bytes | None = self._given_secret.encode() if self._given_secret else None
        self._access_log = access_log
        self._seeing_store: asyncio.Task[None] | None = None
        self.counters = Counters()
        self.counters.inc(WORKER_STARTS)
        self.counters.set(WORKERS, (), 1)
        self.health = Health(HealthWatch(self.counters).changed)
        self._transports = Transports(loop)
        self._tokens = EntraTokens()
        self._store = Store(store_url(settings.store), timeout_s=settings.store.timeout_ms / 1000)
        self._store.on_state(self._store_changed)
        first = make_snapshot(settings, None, None, self._transports, self._runtime, self._tokens)
        self.snapshots = Snapshots(first)
        self.health.ours = first.ours
        self._keyring = Keyring(
            StoreKeySource(self._store),
            lambda: self._secret,
            clock=time.monotonic,
            wall_clock=time.time,
            guesses=Guesses(time.monotonic, lambda: self.counters.inc(KEY_GUESSES, ("data",))),
        )
        self.readiness = WorkerReadiness(lambda: self._store.state == "up")
        attempts = Attempts(self.health, self.counters, loop, time.monotonic)
        self._settling = settling_store(
            store_url(settings.store),
            replicas=settings.store.wait_replicas,
            within_s=settings.store.settle_timeout_ms / 1000,
        )
        accounts = AccountStore(self._store, settling=self._settling)
        process = f"{os.getpid()}-{secrets.token_hex(8)}"
        journals = Path(settings.store.data_dir) / "journal"
        self._journal = Journal(
            journals, process, on_pending=lambda n: self.counters.set(JOURNAL_PENDING, (), n)
        )
        self._meter = Meter(
            accounts,
            self._journal,
            Rejected(journals, process),
            process,
            settle_timeout_s=settings.store.settle_timeout_ms / 1000,
            on_settled=self.counters.counting(SETTLEMENTS),
            on_store_error=self.counters.counting(STORE_ERRORS),
        )
        self._provisions = Provisions(Journal(journals, f"{process}-open"))
        desk = AccountDesk(
            accounts,
            self._meter,
            self._provisions,
            LocalLimiter(lambda: time.time_ns() // 1_000_000),
            self._keyring,
            process,
            name_of=lambda error: render(error).error_type,
            on_rejected=self.counters.counting(LIMIT_REJECTIONS),
        )
        server = settings.server
        gate = Gate(loop, server.max_in_flight, server.max_queue, server.queue_timeout_s)
        self.ids = RequestIds()
        cache = cache_place(settings.store)
        self._cache_store = Store(cache.url, timeout_s=cache.timeout_s)
        self._opening_cache: asyncio.Task[None] | None = None
        self._cached = CachedCalls(
            CacheRepository(self._cache_store, is_shared=cache.is_shared),
            lambda: self._secret,
            process,
            new_id=self.ids.next,
            count=self.counters.counting(CACHE),
        )
        self.service = CallService(
            self.snapshots, self.health, attempts, desk, self._cached, gate, loop, time.monotonic
        )
        self._tracing = make_tracing(settings.telemetry, self.snapshots)
        self.application = DataPlane(
            self.service,
            self._keyring,
            self.snapshots,
            KeyStatus(accounts, self.snapshots),
            self.readiness,
            RequestObserver(self.counters, access_log, self.snapshots, self._tracing),
            self.ids,
            time.monotonic,
            self._tracing,
        )
        self.counters.follow(IN_FLIGHT, lambda: self.application.in_flight)

    @property
    def bounds(self) -> Bounds:
        """What the server holds every connection to; it needs a restart to change."""
        server = self.snapshots.current.settings.server
        return Bounds(
            server.max_body_bytes, server.header_timeout_s, server.write_stall_s, server.max_connections
        )

    @property
    def unsettled(self) -> int:
        """How many settlements of this worker wait for the store."""
        return self._journal.pending

    async def open(self) -> None:
        """Connect to the store and see it once; where it is away, keep trying behind the scenes."""
        self._meter.open()
        await self._tokens.open(_TOKENS_S)
        self._open_cache()
        try:
            if self._settling is not None:
                with contextlib.suppress(StoreError):  # the other one tells of it; both go on trying
                    await self._settling.open()
            await self._store.open()
            await self._see_store()
        except StoreError as error:
            self.counters.set(STORE_AWAY, (), 1)
            log.warning("the store is away at the start; not ready until it was seen", error=str(error))
            self._seeing_store = asyncio.create_task(self._see_store_in_time())
        if self._opening_cache is not None:
            await self._opening_cache

    async def aclose(self) -> None:
        """Close every connection."""
        if self._seeing_store is not None:
            self._seeing_store.cancel()
            await asyncio.gather(self._seeing_store, return_exceptions=True)
        await self._keyring.aclose()
        await self._cached.aclose()
        await self._meter.aclose()
        await self._provisions.aclose(CLOSE_S)
        await self._tokens.aclose()
        await self._transports.aclose()
        if self._settling is not None:
            await self._settling.aclose()
        if self._opening_cache is not None:
            await asyncio.gather(self._opening_cache, return_exceptions=True)
        await self._cache_store.aclose()
        await self._store.aclose()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)
        self._access_log.close()

    def swap(self, state: State) -> None:
        """Put a state of the control process in force: configuration, aliases and discovered models at once.

        Raises:
            ValueError: the configuration cannot be used (`ConfigError` is one).
        """
        current = self.snapshots.current
        settings = current.settings
        if state.config is not None:
            settings = load(state.config, base=self._base, env=self._env, name=self._name)
        aliases = {
            name: StoredAlias(alias["block"], alias["revision"]) for name, alias in state.aliases.items()
        }
        fresh = make_snapshot(
            settings, aliases, state.discovered, self._transports, self._runtime, self._tokens
        )
        self.snapshots.swap(fresh)
        self.health.ours = fresh.ours
        self._open_cache()

    def health_report(self) -> dict[str, Any]:
        """What this worker knows of upstreams, for the control process."""
        return self.health.report(list(self.snapshots.current.clients), time.monotonic())

    def advise(self, upstreams: Mapping[str, Any]) -> None:
        """Take in what others know of upstreams."""
        reports = {name: msgspec.convert(raw, UpstreamReport) for name, raw in upstreams.items()}
        self.health.advise(reports, time.monotonic())

    def _open_cache(self) -> None:
        """Connect to the cache's server, once an alias wants it: before, nothing may be there."""
        if self._opening_cache is None and self.snapshots.current.keeps_answers:
            self._opening_cache = asyncio.get_running_loop().create_task(self._connect_cache())

    async def _connect_cache(self) -> None:
        try:
            await self._cache_store.open()
        except StoreError as error:  # the client goes on trying
            log.warning("the response cache is away; every call is a miss", error=str(error))

    async def _see_store(self) -> None:
        """Read what a worker needs of the store before it is ready. Raises `StoreError`."""
        if self._given_secret is None:
            self._secret = await SecretRepository(self._store).gateway_secret(secrets.token_hex(32))
        stored = await AliasRepository(self._store).read()
        if stored.epoch and self.snapshots.generation == 0:
            aliases = {
                name: {"block": alias.block, "revision": alias.revision}
                for name, alias in stored.aliases.items()
                if alias.block is not None
            }
            self.swap(State(0, None, aliases, stored.discovered))
        self.readiness.was_ready = True

    async def _see_store_in_time(self) -> None:
        while True:
            await asyncio.sleep(_STORE_RETRY_S)
            try:
                await self._see_store()
            except StoreError:
                continue
            return

    def _store_changed(self, state: str) -> None:
        self.counters.set(STORE_AWAY, (), int(state == "away"))
        if state == "away":
            self.counters.inc(STORE_ERRORS, ("connection",))
            log.warning("the store is away")
        elif self.readiness.was_ready:
            log.info("the store is back")


def create_worker(
    runtime: Path, config_path: Path, env: Mapping[str, str], loop: asyncio.AbstractEventLoop
) -> tuple[Worker, str]:
    """A worker on the active configuration of a running gateway, and the text of that configuration.

    Args:
        runtime: the gateway's runtime directory; `active.yaml` in it is what is in force.
        config_path: the operator's file: relative paths start from its folder.
        env: where `${VAR}` comes from.
    """
    text = (runtime / "active.yaml").read_text(encoding="utf-8")
    worker = Worker(text, config_path.parent, str(config_path), env, runtime, loop, AccessLog(loop))
    return worker, text
