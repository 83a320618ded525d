"""Blocks that hold for the whole gateway: reload, ledger, limits, cache, prices, a lost store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gateway.config.fields import Amount, Count, Exact, Flag, Grace, Model, SimpleName


class ReloadSettings(Model):
    """When the file is read again."""

    watch: Flag = Field(
        default=True, description="Reload when the file changes; a bad file leaves the old one serving."
    )


class LedgerSettings(Model):
    """The settled records of usage."""

    retention_days: Count = Field(default=90, description="Days a record is kept; a quarter, for its bill.")


class KeyLimitSettings(Model):
    """Limits of one virtual key; null or a thousand million and more = unlimited, 0 = refuse."""

    rpm: Amount | None = Field(default=600, description="Requests per minute; ten a second.")
    tpm: Amount | None = Field(default=1_000_000, description="Tokens per minute, prompt and completion.")
    concurrency: Amount | None = Field(default=100, description="Calls in flight at once.")


class LimitSettings(Model):
    """Limits of keys that name none."""

    default: KeyLimitSettings = Field(default_factory=KeyLimitSettings, description="Per key.")
    assumed_output_tokens: Count = Field(
        default=512, description="Tokens held for an answer whose caller gives no cap; a typical long one."
    )


class CacheSettings(Model):
    """The response cache; docs/caching.md says which answers are kept, and who gets them."""

    enabled: Flag = Field(
        default=False, description="Keep and replay answers; off, as a stale answer surprises."
    )
    ttl_s: Count = Field(default=3600, description="Seconds an answer is kept.")
    max_entry_bytes: Count = Field(default=1_048_576, description="Largest answer kept, in bytes.")
    nondeterministic: Flag = Field(
        default=False,
        description="Keep answers of calls that ask for variety too: `temperature` above 0, or none given.",
    )
    replay_pace_ms: Grace = Field(
        default=0, description="Milliseconds between events of a replayed stream; 0 = at once."
    )


class CacheOverrides(Model):
    """Cache settings of one alias; null = those of `cache`."""

    enabled: Flag | None = Field(default=None, description="Keep and replay answers.")
    ttl_s: Count | None = Field(default=None, description="Seconds an answer is kept.")
    max_entry_bytes: Count | None = Field(default=None, description="Largest answer kept, in bytes.")
    nondeterministic: Flag | None = Field(
        default=None, description="Keep answers of calls that ask for variety too."
    )
    replay_pace_ms: Grace | None = Field(
        default=None, description="Milliseconds between events of a replayed stream."
    )


Dollars = Annotated[Exact, Field(ge=0, le=1_000_000)]  # a dollar a token is a slip of the pen


def _is_another_tier(name: str) -> str:
    if name in {"auto", "default"}:
        raise ValueError("the price itself is that of the default tier")
    if name == "fast":
        raise ValueError("upstreams report fast as priority: name that one")
    return name


class RateSettings(Model):
    """US dollars per million tokens."""

    input: Dollars = Field(description="USD per million prompt tokens.")
    cached_input: Dollars | None = Field(
        default=None, description="USD per million that came out of the upstream's cache; null = as `input`."
    )
    cache_write: Dollars | None = Field(
        default=None, description="USD per million that went into its cache; null = as `input`."
    )
    output: Dollars = Field(description="USD per million completion tokens.")
    reasoning: Dollars | None = Field(
        default=None, description="USD per million reasoning tokens; null = as `output`."
    )
    audio_input: Dollars | None = Field(
        default=None, description="USD per million audio tokens of a prompt; null = unknown."
    )
    audio_output: Dollars | None = Field(
        default=None, description="USD per million audio tokens of an answer; null = unknown."
    )


class PriceSettings(RateSettings):
    """US dollars per million tokens at the default service tier."""

    service_tiers: Mapping[Annotated[SimpleName, AfterValidator(_is_another_tier)], RateSettings] = Field(
        default_factory=dict,
        description="The same at other tiers (`priority`, `flex`, `batch`); at one that is not named here "
        "the price is unknown.",
    )


Policy = Literal["open", "closed", "local"]


class StoreFailureSettings(Model):
    """What holds while the store is away.

    `open` lets calls pass, `closed` refuses them, `local` counts in each process.
    """

    limits: Policy = Field(
        default="local", description="The limit is divided by the live processes last seen, at least 1."
    )
    budgets: Policy = Field(default="closed", description="Money cannot be counted without the store.")
    cache: Policy = Field(
        default="open",
        description="Of the response cache's; a call without it only costs more. `local` is as `open`.",
    )
