"""The door to genai-prices: list prices of base models, from the data inside the package.

Nothing is fetched: only the package's `UpdatePrices` does that, and nobody here starts it.
The package matches ids generously, as it prices after the fact. Here a wrong price is charged to someone, so
an id has to be named in full: a literal name, a literal name and a date, or an anchored pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib.metadata import version
from urllib.parse import urlsplit

from genai_prices.data import providers
from genai_prices.types import (
    ClauseAnd,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    TieredPrices,
)

from gateway.pricing.price import ListPrice, UsdRates

VERSION = version("genai-prices")
OFFICIAL = "openai"
"""The provider whose list relays of the official API go by."""

AZURE = "azure"

_LITELLM = {
    "gemini": "google",
    "vertex_ai": "google",
    "bedrock": "aws",
    "cohere_chat": "cohere",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "xai": "x-ai",
    "moonshot": "moonshotai",
    "voyage": "voyageai",
    "meta_llama": "meta",
    "azure_ai": "azure",
}
"""Providers that litellm calls by another name than genai-prices does."""

_PROVIDERS = {provider.id: provider for provider in providers}
_RATES = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "audio_input",
    "cache_audio_read_mtok": "audio_cached_input",
    "output_audio_mtok": "audio_output",
}
# fees of hosted tools, and of a cache that the official API does not have: no usage counts them
_NOT_METERED = {"web_searches_kcount", "storage_searches_kcount", "cache_write_1h_mtok"}
_DATED = re.compile(r"(?:-?preview)?(?:-?latest|-?\d{4}(?:-\d{2}-\d{2})?)?")


def provider_of(base_url: str | None) -> str:
    """The provider whose list holds at a URL: the one that it belongs to, else the official one."""
    url = base_url or ""
    host = urlsplit(url).hostname or ""
    if host == "openai.com" or host.endswith(".openai.com"):
        return OFFICIAL
    known = (provider.id for provider in providers if re.match(provider.api_pattern, url))
    return next(known, OFFICIAL)


def provider_named(name: str) -> str | None:
    """The provider that litellm calls so, or None where no list of it is known."""
    known = _LITELLM.get(name, name)
    return known if known in _PROVIDERS else None


def bundled_price(provider: str, model: str, tier: str, moment: datetime) -> ListPrice | None:
    """The list price of a base model at a service tier, or None where it is not known for sure.

    Args:
        provider: of `provider_of`.
        tier: "default", or a tier as upstreams report it.
        moment: some prices begin on a day, some hold at certain hours.
    """
    found = _find(provider, model)
    if found is None:
        return None
    info, is_own = found
    context = None
    if tier != "default":
        context = {"processing": "batch"} if tier == "batch" else {"service_tier": tier}
        # the list of a provider that serves another's models says nothing of its tiers
        if not is_own or not _has_variant(info, context, moment):
            return None
    return _list_price(info, info.get_prices(moment, context))


def context_window(model: str) -> int | None:
    """The tokens a model of the official API has room for, prompt and answer, where known."""
    found = _find(OFFICIAL, model)
    return found[0].context_window if found is not None else None


@lru_cache(maxsize=4096)
def _find(provider: str, model: str) -> tuple[ModelInfo, bool] | None:
    """The row of a model, and whether it stands in the provider's own list."""
    name = model.lower()
    for place in (provider, *(_PROVIDERS[provider].fallback_model_providers or ())):
        literal, others = _index(place)
        row = literal.get(name) or next((info for info in others if _names(info.match, name)), None)
        if row is not None:
            return row, place == provider
    return None


@cache
def _index(provider: str) -> tuple[Mapping[str, ModelInfo], tuple[ModelInfo, ...]]:
    """A provider's rows by literal name, and those with other ways to name them."""
    literal: dict[str, ModelInfo] = {}
    others = []
    for info in _PROVIDERS[provider].models:
        if info.id.startswith("ft:") or ".ft-" in info.id:
            continue  # our own rows have more of them, and cached prices
        if provider == OFFICIAL and info.id.startswith("gpt-oss"):
            continue  # open weights, which the official API does not serve: the price is of someone else
        clauses = list(_alternatives(info.match))
        names = [clause.equals.lower() for clause in clauses if isinstance(clause, ClauseEquals)]
        for name in names:
            literal.setdefault(name, info)
        if len(names) < len(clauses):
            others.append(info)
    return literal, tuple(others)


def _alternatives(match: MatchLogic) -> Iterator[MatchLogic]:
    if isinstance(match, ClauseOr):
        for each in match.or_:
            yield from _alternatives(each)
    else:
        yield match


def _names(match: MatchLogic, name: str) -> bool:
    """True where the rule spells a name out."""
    if isinstance(match, ClauseEquals):
        return match.equals.lower() == name
    if isinstance(match, ClauseStartsWith):
        start = match.starts_with.lower()
        return name.startswith(start) and _DATED.fullmatch(name, len(start)) is not None
    if isinstance(match, ClauseRegex):
        return match.regex.startswith("^") and match.regex.endswith("$") and match.is_match(name)
    if isinstance(match, ClauseOr):
        return any(_names(each, name) for each in match.or_)
    if isinstance(match, ClauseAnd):
        return match.is_match(name) and any(_names(each, name) for each in match.and_)
    return False


def _has_variant(info: ModelInfo, context: Mapping[str, str], moment: datetime) -> bool:
    return any(
        variant.when == context and (variant.constraint is None or variant.constraint.active(moment))
        for variant in info.price_variants or ()
    )


def _list_price(info: ModelInfo, prices: ModelPrice) -> ListPrice | None:
    """A row in our terms; None where it is priced by what a usage does not tell, such as images or hours."""
    rows = {
        key: value for key, value in vars(prices).items() if value is not None and key not in _NOT_METERED
    }
    if "input_mtok" not in rows or not rows.keys() <= _RATES.keys():
        return None
    if "audio" in info.id and "input_audio_mtok" not in rows:
        return None  # it takes audio for a price that the list leaves out
    starts = {
        tier.start for value in rows.values() if isinstance(value, TieredPrices) for tier in value.tiers
    }

    def rates(start: int) -> UsdRates:
        return {_RATES[key]: _from(value, start) for key, value in rows.items()}

    return ListPrice(
        usd=rates(-1),
        source="genai-prices",
        longer=tuple((start, rates(start)) for start in sorted(starts)),
    )


def _from(value: Decimal | TieredPrices, start: int) -> Decimal:
    """A rate for prompts of more than `start` tokens."""
    if not isinstance(value, TieredPrices):
        return value
    return next((tier.price for tier in reversed(value.tiers) if tier.start <= start), value.base)
