"""The book of prices: what a model costs at an upstream, by the configuration in force.

First found counts:
    1. `prices` of the upstream itself: the id itself, then globs in the order of the file
    2. `prices` of the configuration, in the same way
    3. a model chosen by fields of the body, such as a LoRA adapter: unknown
    4. a fine-tune: our own row of its base, at the official API, its relays and the demo; else unknown
    5. models that are free of charge
    6. the list of the upstream's provider in genai-prices: Azure's at kind azure, that of the provider an id
       names at kind litellm, else that of the URL, of one that belongs to none the official list
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
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
    """What an upstream's prices go by.

    Args:
        provider: whose list holds; None where each id names its provider, as litellm's do.
        own: what the configuration says that it charges.
    """

    provider: str | None
    factor: Decimal
    adapters: frozenset[str]
    own: Mapping[str, PriceSettings]


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
        factor = place.factor
        if (block := _block_of(place.own, model)) is not None:
            listed, factor = _configured_price(block, tier), Decimal(1)
        elif (block := _block_of(self._configured, model)) is not None:
            listed = _configured_price(block, tier)
        else:
            listed = _listed(place, model, tier, datetime.fromtimestamp(slot * _SLOT_S, UTC))
        return None if listed is None else Price.of(listed, factor, self.version)


def _block_of(blocks: Mapping[str, PriceSettings], model: str) -> PriceSettings | None:
    if model in blocks:
        return blocks[model]
    return next((block for glob, block in blocks.items() if fnmatchcase(model, glob)), None)


def _place(upstream: UpstreamSettings) -> _Place:
    return _Place(
        provider=_provider(upstream),
        factor=upstream.price_multiplier,
        adapters=frozenset(model for model in upstream.listed or () if upstream.adapter(model)),
        own=dict(upstream.prices),
    )


def _provider(upstream: UpstreamSettings) -> str | None:
    if upstream.kind == "azure":
        return bundled.AZURE
    if upstream.kind == "litellm":
        return upstream.provider and bundled.provider_named(upstream.provider)
    return bundled.provider_of(upstream.base_url)


def _configured_price(block: PriceSettings, tier: str) -> ListPrice | None:
    rates: RateSettings | None = block if tier == "default" else block.service_tiers.get(tier)
    if rates is None:
        return None
    return ListPrice({name: getattr(rates, name) for name in RateSettings.model_fields}, source="config")


def _listed(place: _Place, model: str, tier: str, moment: datetime) -> ListPrice | None:
    if model in place.adapters:
        return None
    provider = place.provider
    if provider is None:
        named, _, model = model.partition("/")
        provider = bundled.provider_named(named)
        if provider is None:
            return None
    identity = parse_model_id(model)
    if identity.is_fine_tuned or model[:3].lower() == "ft:" or ".ft-" in model:
        # other providers, Azure among them, have prices of their own for fine-tunes
        if not identity.needs_owner or identity.base is None or provider != bundled.OFFICIAL:
            return None
        return own_rows.fine_tuned_price(identity.base, tier)
    free = own_rows.free_price(model) if provider == bundled.OFFICIAL else None
    return free or bundled.bundled_price(provider, model, tier, moment)


def _version(settings: DynamicSettings) -> str:
    parts = [f"genai-prices-{bundled.VERSION}", f"own-{own_rows.CHECKED}"]
    factors = {
        name: str(each.price_multiplier.normalize())
        for name, each in settings.upstreams.items()
        if each.price_multiplier != 1
    }
    own = {name: _dumped(each.prices) for name, each in settings.upstreams.items() if each.prices}
    if settings.prices or factors or own:
        text = json.dumps([_dumped(settings.prices), factors, *([own] if own else [])], sort_keys=True)
        parts.append(f"config-{hashlib.sha256(text.encode()).hexdigest()[:8]}")
    return "+".join(parts)


def _dumped(blocks: Mapping[str, PriceSettings]) -> list[tuple[str, object]]:
    """In their order, which counts."""
    return [(name, block.model_dump(mode="json")) for name, block in blocks.items()]
