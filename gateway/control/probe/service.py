"""Probes on request: which model, what it may cost, and one at a time of each upstream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from gateway.config import UpstreamSettings
from gateway.control.errors import Conflict, NotFound
from gateway.control.insight_routes import current
from gateway.control.probe.asking import Asker
from gateway.control.probe.findings import Findings, ShownCost, ShownProbe
from gateway.control.probe.probe import Probe, most_calls
from gateway.control.probe.questions import CAP_TOKENS
from gateway.control.snapshot import Snapshot, SnapshotKeeper
from gateway.domain.errors import InvalidRequest, UpstreamsFailed
from gateway.domain.money import usd
from gateway.domain.usage import Usage
from gateway.pricing.cost import cost
from gateway.upstream.client import UpstreamClient

DEADLINE_S = 540.0
_BYTES_A_TOKEN = 3  # low for English and JSON: an estimate should not be below the bill
_LONG_TOKENS = 400  # of an answer that counts to a hundred, where no cap holds
_CAN_BE_ASKED = {"openai", "azure"}


class Probing:
    """Examines upstreams.

    Args:
        client_of: makes the client of a configured upstream.
    """

    def __init__(
        self, keeper: SnapshotKeeper, client_of: Callable[[str, UpstreamSettings], UpstreamClient]
    ) -> None:
        self._keeper = keeper
        self._client_of = client_of
        self._under_way: set[str] = set()

    async def probe(self, name: str, model: str | None, *, dry_run: bool) -> ShownProbe:
        """Examine an upstream, or say what that would cost.

        Raises:
            NotFound: no upstream has this name.
            InvalidRequest: it cannot be examined, or no model is known to ask.
            Conflict: it is being examined.
            UpstreamsFailed: it takes no call at all.
        """
        snapshot = current(self._keeper)
        upstream = snapshot.settings.upstreams.get(name)
        if upstream is None:
            raise NotFound(f"No upstream has the name `{name}`.", "name")
        if upstream.kind not in _CAN_BE_ASKED or upstream.disabled:
            why = upstream.disabled or f"kind {upstream.kind} has no quirks"
            raise InvalidRequest(f"`{name}` cannot be examined: {why}.", param="name")
        model = model or _model_at(snapshot, name)
        if model is None:
            raise InvalidRequest(f"`{name}` lists no model: say which to ask.", param="model")
        if upstream.listed is not None and snapshot.catalogue.homes[name].reason_against(model):
            raise InvalidRequest(f"`{name}` does not serve `{model}`.", param="model")
        shown = ShownProbe(upstream=name, model=model, estimate=_estimate(snapshot, name, model))
        if dry_run:
            return shown
        if name in self._under_way:
            raise Conflict(f"`{name}` is being examined already.")
        self._under_way.add(name)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._run(snapshot, name, upstream, shown)
        except TimeoutError:
            raise UpstreamsFailed(f"`{name}` is too slow to be examined in {DEADLINE_S:.0f} s.") from None
        finally:
            self._under_way.discard(name)

    async def _run(
        self, snapshot: Snapshot, name: str, upstream: UpstreamSettings, shown: ShownProbe
    ) -> ShownProbe:
        model = shown.model
        client = self._client_of(name, upstream)
        asker = Asker(client, model, upstream.deployment(model), upstream.adapter(model), time.time)
        found = Findings(upstream)
        await Probe(asker, found, has_list=upstream.kind != "azure").run()
        return shown.model_copy(
            update={
                "spent": _cost(snapshot, name, model, asker.calls, asker.spent if asker.is_metered else None),
                "findings": found.shown(),
                "unknown": found.unknown,
                "notes": found.notes,
                "settings": found.settings,
                "yaml": found.yaml(name),
            }
        )


def _model_at(snapshot: Snapshot, name: str) -> str | None:
    """A model that this upstream surely serves: one that an alias asks of it, else one that it lists."""
    for target in snapshot.catalogue.aliases.values():
        for candidate in target.candidates:
            if candidate.upstream == name and candidate.skip is None:
                return candidate.model
    for model, homes in snapshot.catalogue.listed_models().items():
        if any(home.name == name for home in homes):
            return model
    return None


def _estimate(snapshot: Snapshot, name: str, model: str) -> ShownCost:
    calls = most_calls()
    prompt = sum(len(msgspec.json.encode(call)) for call in calls) // _BYTES_A_TOKEN
    used = Usage(prompt_tokens=prompt, completion_tokens=CAP_TOKENS * len(calls) + 2 * _LONG_TOKENS)
    return _cost(snapshot, name, model, len(calls), used)


def _cost(snapshot: Snapshot, name: str, model: str, calls: int, used: Usage | None) -> ShownCost:
    price = snapshot.prices.price(name, model)
    nano = None if price is None or used is None else cost(used, price)
    return ShownCost(
        calls=calls,
        prompt_tokens=None if used is None else used.prompt_tokens,
        completion_tokens=None if used is None else used.completion_tokens,
        cost_usd=None if nano is None else usd(nano),
        cost_nanousd=nano,
    )
