"""Asking upstreams which models they serve: those with `models: discover`, and the demo upstream.

The answer is kept in the store, so that a restart knows it before the first look, and goes to the workers
with the rest of the catalogue. An upstream that does not answer keeps what it said last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from gateway.config import Settings, UpstreamSettings
from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream.client import UpstreamClient

log = structlog.get_logger(__name__)

EVERY_S = 300.0
DEADLINE_S = 10.0
MAX_LIST_BYTES = 8 * 1024 * 1024  # some ten thousand models; the largest public list has a few hundred
_KEPT = ("id", "object", "created", "owned_by", "shutdown_date")


class DiscoveredStore(Protocol):
    """Where discovered models are kept."""

    async def keep_discovered(self, upstream: str, models: list[Any] | None) -> bool:
        """Keep (None: forget) the models of an upstream; True where that changed anything."""


class Discovery:
    """Looks at upstreams' lists of models.

    Args:
        store: where the lists are kept.
        client_of: makes the client of a configured upstream.
    """

    def __init__(
        self, store: DiscoveredStore, client_of: Callable[[str, UpstreamSettings], UpstreamClient]
    ) -> None:
        self._store = store
        self._client_of = client_of
        self._silent: set[str] = set()

    async def look(self, settings: Settings, known: Mapping[str, Any]) -> bool:
        """Ask every upstream that discovers, all at once; forget those in `known` that no longer do.

        Returns whether all answered. Raises `StoreError`.
        """
        asked = {name: upstream for name, upstream in settings.upstreams.items() if _discovers(upstream)}
        for name in known.keys() - asked.keys():
            await self._store.keep_discovered(name, None)
        return all(await asyncio.gather(*(self._look_at(name, each) for name, each in asked.items())))

    async def _look_at(self, name: str, upstream: UpstreamSettings) -> bool:
        try:
            async with asyncio.timeout(DEADLINE_S):
                models = await list_models(self._client_of(name, upstream))
        except (AttemptFailed, TimeoutError) as error:
            if name not in self._silent:
                why = str(error) or f"no answer within {DEADLINE_S:.0f} s"
                log.warning(
                    "an upstream does not list its models; what it said last holds", upstream=name, why=why
                )
            self._silent.add(name)
            return False
        self._silent.discard(name)
        if await self._store.keep_discovered(name, models):
            log.info("an upstream's models changed", upstream=name, models=len(models))
        return True


def _discovers(upstream: UpstreamSettings) -> bool:
    return upstream.enabled and (upstream.discovers or (upstream.kind == "demo" and upstream.models is None))


async def list_models(client: UpstreamClient) -> list[dict[str, Any]]:
    """The models an upstream lists, by id, each cut down to its official fields.

    Raises `AttemptFailed`; a list that is no list is a `bad_response`.
    """
    status, body = 0, b""
    for headers in client.header_sets:
        response = await client.transport.send(client.listing(headers))
        status, body = response.status, await response.read(MAX_LIST_BYTES)
        if status == 200:
            return parse_models(body)
    raise AttemptFailed(
        FailureClass.BAD_RESPONSE, f"GET {client.path_prefix}/models answered {status}", status=status
    )


def parse_models(body: bytes) -> list[dict[str, Any]]:
    """Read the official list object. Entries that are no model objects are passed over.

    Raises `AttemptFailed` where it is not a list at all.
    """
    try:
        listed = msgspec.json.decode(body, type=_ModelList).data
    except msgspec.DecodeError as error:
        raise AttemptFailed(FailureClass.BAD_RESPONSE, f"GET /models answered no list: {error}") from error
    models = {
        entry["id"]: {name: entry[name] for name in _KEPT if name in entry}
        for entry in listed
        if isinstance(entry, dict) and isinstance(entry.get("id"), str) and entry["id"]
    }
    return [models[model] for model in sorted(models)]


class _ModelList(msgspec.Struct):
    data: Sequence[Any]
