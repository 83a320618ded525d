"""The book of prices: what a model costs at an upstream, by the configuration in force.

First found counts:
    1. `prices` of the configuration: the id itself, then globs in the order of the file
    2. a model chosen by fields of the body, such as a LoRA adapter: unknown
    3. a fine-tune: our own row of its base, at the official API, its relays and the demo; else unknown
    4. models that are free of charge
    5. the list of the upstream's provider in genai-prices; of a URL that belongs to none, the official list
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase

from gateway.config.models import DynamicSettings
from gateway.config.policy import PriceSettings, RateSettings
from gateway.config.upstream import UpstreamSettings
from gateway.domain.model_id import parse_model_id
from gateway.pricing import bundled, own_rows
from gateway.pricing.price import ListPrice, Price

_SLOT_S = 1800  # prices that depend on the hour change on the half hour; the others at midnight UTC
_CACHED_PRICES = 4096
_TIERS = {
    **dict.fromkeys((None, "", "auto", "default", "standard", "on_demand"), "default"),
    "fast": "priority",  # asked for as fast, reported as priority
}

_Key = tuple[str, str, str | None, int]


@dataclass(frozen=True, slots=True)
class _Place:
    """What an upstream's prices go by; `provider` is None where only the configuration knows."""

    provider: str | None
    factor: Decimal
    adapters: frozenset[str]


class PriceBook:
    """Prices under one configuration. Immutable but for what it remembers of its answers.

    Args:
        settings: the configuration's dynamic part.
        clock: unix seconds.
    """

    def __init__(self, settings: DynamicSettings, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._configured = dict(settings.prices)
        self._places = {name: _place(upstream) for name, upstream in settings.upstreams.items()}
        self.version = _version(settings)
        """Which data the prices are from, for the ledger; also of calls whose price is unknown."""
        self._known: dict[_Key, Price | None] = {}

    def price(
        self, upstream: str, model: str, service_tier: str | None = None, at: float | None = None
    ) -> Price | None:
        """What a model costs at an upstream, or None where that is unknown.

        Args:
            upstream: its configured name.
            model: the id asked of the upstream.
            service_tier: as the upstream reported it, or the caller asked for; a tier that no list knows has
                no price.
            at: unix seconds, the time of the call; now where absent.
        """
        slot = int((self._clock() if at is None else at) // _SLOT_S)
        key = (upstream, model, service_tier, slot)
        try:
            return self._known[key]
        except KeyError:
            if len(self._known) >= _CACHED_PRICES:  # names come from clients and upstreams: bounded
                self._known.clear()
            price = self._known[key] = self._look_up(upstream, model, service_tier, slot)
            return price

    def _look_up(self, upstream: str, model: str, service_tier: str | None, slot: int) -> Price | None:
        place = self._places.get(upstream)
        if place is None:
            return None
        tier = _TIERS.get(service_tier, service_tier) or "default"
        moment = datetime.fromtimestamp(slot * _SLOT_S, UTC)
        block = self._configured_block(model)
        listed = _listed(place, model, tier, moment) if block is None else _configured_price(block, tier)
        return None if listed is None else Price.of(listed, place.factor, self.version)

    def _configured_block(self, model: str) -> PriceSettings | None:
        if model in self._configured:
            return self._configured[model]
        return next((block for glob, block in self._configured.items() if fnmatchcase(model, glob)), None)


def _place(upstream: UpstreamSettings) -> _Place:
    return _Place(
        # litellm names the provider in each id, which no list here reads
        provider=None if upstream.kind == "litellm" else bundled.provider_of(upstream.base_url),
        factor=upstream.price_multiplier,
        adapters=frozenset(model for model in upstream.listed or () if upstream.adapter(model)),
    )


def _configured_price(block: PriceSettings, tier: str) -> ListPrice | None:
    rates: RateSettings | None = block if tier == "default" else block.service_tiers.get(tier)
    if rates is None:
        return None
    return ListPrice({name: getattr(rates, name) for name in RateSettings.model_fields}, source="config")


def _listed(place: _Place, model: str, tier: str, moment: datetime) -> ListPrice | None:
    if place.provider is None or model in place.adapters:
        return None
    identity = parse_model_id(model)
    if identity.is_fine_tuned or model[:3].lower() == "ft:" or ".ft-" in model:
        # other providers, Azure among them, have prices of their own for fine-tunes
        if not identity.needs_owner or identity.base is None or place.provider != bundled.OFFICIAL:
            return None
        return own_rows.fine_tuned_price(identity.base, tier)
    free = own_rows.free_price(model) if place.provider == bundled.OFFICIAL else None
    return free or bundled.bundled_price(place.provider, model, tier, moment)


def _version(settings: DynamicSettings) -> str:
    parts = [f"genai-prices-{bundled.VERSION}", f"own-{own_rows.CHECKED}"]
    factors = {
        name: str(each.price_multiplier.normalize())
        for name, each in settings.upstreams.items()
        if each.price_multiplier != 1
    }
    if settings.prices or factors:
        prices = [(name, block.model_dump(mode="json")) for name, block in settings.prices.items()]
        text = json.dumps([prices, factors], sort_keys=True)
        parts.append(f"config-{hashlib.sha256(text.encode()).hexdigest()[:8]}")
    return "+".join(parts)
