"""The stage: a gateway's real processes, and an upstream behind a proxy for each case that is played."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import redis.asyncio
import trustme

from gateway.metering.record import LedgerRecord
from gateway.store import keys
from gateway.supervisor.paths import embedded_socket
from tests.chaos.matrix_kit.case import Case, Setting
from tests.chaos.matrix_kit.client import Line, Seen, ask, chat_body, request_bytes
from tests.e2e.gateway_process import GatewayProcess
from tests.support.fake_upstream import FakeUpstream, running_upstream
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.valkey import ValkeyServer

_BACK_WITHIN_S = 15.0
HOST = "localhost"
"""The name that good certificates are for."""

PRICE = {"input": 1, "output": 2}
_TIMEOUTS = {"connect_s": 0.5, "first_token_s": 1.0, "idle_s": 1.0, "total_s": 20.0}
_SERVER: dict[str, Any] = {
    "workers": 1,
    "drain_grace_s": 0.2,
    "drain_timeout_s": 5,
    "max_body_bytes": 65536,
    "header_timeout_s": 1,
    "body_timeout_s": 1,
    "write_stall_s": 1,
}
_UNLIMITED = {"rpm": None, "tpm": None, "concurrency": None}
_SLOW_NAMES = Path(__file__).parent / "slow_names"
Sample = tuple[str, dict[str, str], float]
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Actor:
    """One upstream: what it says (`plays`), and the proxy that may spoil it."""

    says: FakeUpstream
    proxy: FaultProxy


@dataclass
class Scene:
    """What a case plays with. Names and key are its own, so that cases do not meet."""

    case: Case
    stage: Stage
    actor: Actor
    spare: Actor | None
    key: str
    key_id: str
    samples: list[Sample] | None = None
    """Figures taken while there was somebody to give them, for a case that ends the gateway."""

    @property
    def alias(self) -> str:
        return self.case.slug

    @property
    def model(self) -> str:
        return model_of(self.case)

    @property
    def upstream(self) -> FakeUpstream:
        return self.actor.says

    @property
    def proxy(self) -> FaultProxy:
        return self.actor.proxy

    @property
    def gateway(self) -> GatewayProcess:
        return self.stage.gateway

    def request(self, *, headers: Mapping[str, str] | None = None, **fields: Any) -> bytes:
        return request_bytes(self.key, chat_body(self.alias, **fields), dict(headers or {}))

    async def ask(self, *, headers: Mapping[str, str] | None = None, **fields: Any) -> Seen:
        """A call for a JSON reply."""
        return await ask(self.gateway.data_url, self.request(headers=headers, **fields))

    async def stream(self, *, headers: Mapping[str, str] | None = None, **fields: Any) -> Seen:
        """A call for a stream, read to its end."""
        return await self.ask(headers=headers, stream=True, **fields)

    async def line(self, **options: Any) -> Line:
        return await Line.to(self.gateway.data_url, **options)

    async def known(self) -> None:
        """Let the worker learn of the key, as all keys in use are known."""
        request = request_bytes(self.key, b"").replace(b"POST /v1/chat/completions", b"GET /v1/models")
        assert (await ask(self.gateway.data_url, request)).status == 200

    def calls(self) -> int:
        """How many calls reached the upstream."""
        return len(self.upstream.calls_of(self.model))

    async def record(self) -> LedgerRecord:
        """The one record of the key, as soon as it is there."""
        async with asyncio.timeout(5):
            while not (found := await self.stage.records(self.key_id)):
                await asyncio.sleep(0.01)
        assert len(found) == 1, found
        return found[0]

    def memory_kib(self) -> int:
        """What the first worker has resident."""
        status = Path(f"/proc/{self.gateway.pid('worker-0')}/status").read_text(encoding="ascii")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1])


class Stage:
    """A gateway and all that stands around it. Made by `stage_for`."""

    def __init__(
        self, gateway: GatewayProcess, actors: dict[str, tuple[Actor, Actor | None]], store: OwnStore | None
    ) -> None:
        self.gateway = gateway
        self._own_store = store
        self._actors = actors
        path = store.server.path if store else embedded_socket(gateway.data_dir)
        self._redis = redis.asyncio.Redis(unix_socket_path=str(path))

    @property
    def own_store(self) -> OwnStore:
        assert self._own_store is not None, "this setting has the embedded store"
        return self._own_store

    async def scene(self, case: Case) -> Scene:
        fields = {"name": case.slug, "limits": _UNLIMITED} | dict(case.key)
        issued = await asyncio.to_thread(self.gateway.issue_key, **fields)  # this loop carries the proxies
        actor, spare = self._actors[case.slug]
        return Scene(case, self, actor, spare, issued["key"], issued["id"])

    async def samples(self) -> list[Sample]:
        async with httpx2.AsyncClient(timeout=10, trust_env=False) as http:
            text = (await http.get(self.gateway.admin_url + "/metrics")).text
        return [
            (name, dict(_LABEL.findall(labels)), float(value))
            for name, labels, value in _SAMPLE.findall(text)
        ]

    async def store_is_back(self) -> None:
        """Wait until all processes have their store again: a new key is made, and known."""
        began = asyncio.get_running_loop().time()
        async with httpx2.AsyncClient(timeout=5, trust_env=False) as http:
            while True:
                assert asyncio.get_running_loop().time() < began + _BACK_WITHIN_S, (
                    "the store is not found again"
                )
                issued = await http.post(
                    self.gateway.admin_url + "/admin/v1/keys",
                    json={"name": "back"},
                    headers=self.gateway.admin_headers,
                )
                if issued.status_code == 200:
                    known = {"authorization": f"Bearer {issued.json()['key']}"}
                    answer = await http.get(self.gateway.data_url + "/v1/models", headers=known)
                    if answer.status_code == 200:
                        return
                await asyncio.sleep(0.05)

    async def records(self, key_id: str) -> list[LedgerRecord]:
        """What the ledger has of a key; a correction takes the place of what it corrects."""
        found: dict[str, LedgerRecord] = {}
        entries: Any = await self._redis.xrange(keys.ledger(key_id[:2]))
        for _, fields in entries:
            record = LedgerRecord.decode(fields[b"r"])
            if record.key == key_id:
                assert fields[b"t"] == b"correction" or record.request_id not in found, "settled twice"
                found[record.request_id] = record
        return list(found.values())

    async def states(self, key_id: str) -> Counter[str]:
        return Counter(record.state for record in await self.records(key_id))

    async def held(self, key_id: str) -> int:
        """Calls and nano-dollars that the key's open calls hold."""
        calls = await self._redis.hget(keys.key_limits(key_id), "open")
        money = await self._redis.hget(keys.key_account(key_id), "held")
        return int(calls or 0) + int(money or 0)

    async def aclose(self) -> None:
        await self._redis.aclose()


@dataclass
class OwnStore:
    """A store of ours, and the proxy through which the gateway meets it."""

    server: ValkeyServer
    proxy: FaultProxy


def model_of(case: Case) -> str:
    return case.model or f"m-{case.slug}"


@contextlib.asynccontextmanager
async def stage_for(setting: Setting, cases: Sequence[Case]) -> AsyncIterator[Stage]:
    """A running gateway on which these cases can be played."""
    async with contextlib.AsyncExitStack() as stack:
        authority = trustme.CA()
        actors: dict[str, tuple[Actor, Actor | None]] = {}
        for case in cases:
            first = await stack.enter_async_context(_actor(case.tls, authority))
            spare = await stack.enter_async_context(_actor(None, authority)) if case.spare else None
            actors[case.slug] = first, spare
        store = await stack.enter_async_context(_own_store()) if setting.own_store else None
        gateway = GatewayProcess(_config(setting, cases, actors, store))
        stack.callback(gateway.cleanup)
        trusted = gateway.home / "authority.pem"
        authority.cert_pem.write_to_path(trusted)
        with _environment(SSL_CERT_FILE=str(trusted), PYTHONPATH=str(_SLOW_NAMES)):
            await asyncio.to_thread(gateway.start)
        stage = Stage(gateway, actors, store)
        stack.push_async_callback(stage.aclose)
        yield stage


@contextlib.asynccontextmanager
async def _actor(tls: str | None, authority: trustme.CA) -> AsyncIterator[Actor]:
    async with running_upstream() as says:
        port = int(says.url.split(":")[2].split("/")[0])
        context = _server_context(tls, authority) if tls else None
        async with fault_proxy("127.0.0.1", port, context=context) as proxy:
            yield Actor(says, proxy)


@contextlib.asynccontextmanager
async def _own_store() -> AsyncIterator[OwnStore]:
    with ValkeyServer("--appendonly", "yes", "--maxmemory-policy", "noeviction", tcp=True) as server:
        async with fault_proxy("127.0.0.1", server.port) as proxy:
            yield OwnStore(server, proxy)


def _server_context(tls: str, authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    issuer = trustme.CA() if tls == "self-signed" else authority
    issuer.issue_cert(
        "elsewhere.test" if tls == "wrong name" else HOST,
        not_before=yesterday - dt.timedelta(days=30),
        not_after=yesterday if tls == "expired" else None,
    ).configure_cert(context)
    return context


def _config(
    setting: Setting,
    cases: Sequence[Case],
    actors: Mapping[str, tuple[Actor, Actor | None]],
    store: OwnStore | None,
) -> dict[str, Any]:
    upstreams: dict[str, Any] = {}
    aliases: dict[str, Any] = {}
    for case in cases:
        actor, spare = actors[case.slug]
        scheme = f"https://{HOST}" if case.tls else "http://127.0.0.1"
        facts: dict[str, Any] = {
            "base_url": scheme + ":{port}/v1",
            "api_keys": ["sk-one"],
            "models": [model_of(case)],
        }
        facts["owns"] = ["*"]
        facts |= dict(case.upstream)
        facts["base_url"] = facts["base_url"].format(port=actor.proxy.port)
        facts["timeouts"] = _TIMEOUTS | dict(case.upstream.get("timeouts", {}))
        upstreams[case.slug] = facts
        serving = [case.slug]
        if spare is not None:
            serving.append(f"{case.slug}-spare")
            url = f"http://{HOST}:{spare.proxy.port}/v1"
            upstreams[serving[1]] = {
                "base_url": url,
                "models": [model_of(case)],
                "owns": ["*"],
                "timeouts": _TIMEOUTS,
            }
        aliases[case.slug] = {"model": model_of(case), "upstreams": serving} | dict(case.alias)
    config: dict[str, Any] = {
        "server": _SERVER | dict(setting.server),
        "upstreams": upstreams,
        "aliases": aliases,
        "prices": {"m-*": PRICE},
    }
    if store is not None:
        config["store"] = {"url": f"redis://127.0.0.1:{store.proxy.port}", "data_dir": "data"}
    return config


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """What the gateway's processes inherit."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
