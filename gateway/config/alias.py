"""One alias: the name clients send, the model behind it, and what happens when that does not serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from gateway.config.fields import (
    AliasName,
    Amount,
    BodyField,
    BodyFields,
    Count,
    Flag,
    Model,
    ModelName,
)
from gateway.config.policy import CacheOverrides, CacheSettings
from gateway.config.upstream import TimeoutOverrides

FailureName = Literal[
    "connect", "timeout", "rate_limited", "server_error", "model_not_found", "bad_response", "credential"
]
"""The classes of failure that may move a call on; `domain.errors.FailureClass` says what each means."""

FAILURES: tuple[FailureName, ...] = (
    "connect",
    "timeout",
    "rate_limited",
    "server_error",
    "model_not_found",
    "bad_response",
    "credential",
)


def _are_distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a name stands here twice")
    return names


def _weigh_something(weights: Mapping[str, int]) -> Mapping[str, int]:
    if not any(weights.values()):
        raise ValueError("the weights sum to 0: at least one must be above it")
    return weights


def _kind_of_upstreams(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return "weighed"
    return "ordered" if isinstance(value, list | tuple) else None


Upstreams = Annotated[
    Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_are_distinct), Tag("ordered")]
    | Annotated[Mapping[str, Amount], Field(min_length=1), AfterValidator(_weigh_something), Tag("weighed")],
    Discriminator(
        _kind_of_upstreams,
        custom_error_type="shape",
        custom_error_message="write a list of upstreams, or a mapping of upstreams to weights",
    ),
]
Order = tuple[tuple[str, int | None], ...]


def _order(upstreams: tuple[str, ...] | Mapping[str, int] | None) -> Order | None:
    if upstreams is None:
        return None
    if isinstance(upstreams, Mapping):
        return tuple(upstreams.items())
    return tuple((name, None) for name in upstreams)


class FallbackSettings(Model):
    """Where a call goes when the targets before this one did not serve."""

    model: ModelName = Field(
        description="A model id, an alias, or `base`: the base parsed out of the alias's `ft:` id."
    )
    upstreams: Upstreams | None = Field(
        default=None,
        description="As an alias has them; absent = every upstream that serves the model, not the alias's "
        "list.",
    )
    rewrite: str | None = Field(default=None, description="Name of the rewrite that this target needs.")

    @property
    def upstream_order(self) -> Order | None:
        """Upstreams in order, each with its weight or None; None where any that serves the model may."""
        return _order(self.upstreams)


def _from_name(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


Fallback = Annotated[
    FallbackSettings, BeforeValidator(_from_name, json_schema_input_type=str | FallbackSettings)
]


class SunsetSettings(Model):
    """A planned move to another target before the model ends."""

    switch_to: AliasName = Field(
        description="Alias whose block takes over as it stands then; or model id, called as the fallback "
        "that names it says, else without a rewrite."
    )
    days_before: Amount = Field(
        default=7,
        description="Days before the shutdown date (UTC) at the upstream that ends the model last; a week "
        "leaves time to go back.",
    )


class AliasSettings(Model):
    """A name that outlives the model behind it."""

    model: ModelName = Field(description="The model id to serve, passed on byte for byte.")
    upstreams: Upstreams | None = Field(
        default=None,
        description="List, tried in this order; or mapping of upstreams to weights, which splits calls by "
        "weight and keeps the others as failover. Absent = all that may serve the model, in "
        "file order.",
    )
    fallbacks: tuple[Fallback, ...] = Field(
        default=(),
        description="Tried in order: model ids, aliases, or `base` (the base parsed out of an `ft:` id), "
        "each also as `{model, upstreams, rewrite}`. None by default: another model's answers "
        "are the operator's choice.",
    )
    fallback_on: tuple[FailureName, ...] = Field(
        default=FAILURES,
        description="Classes of failure that move a call on; all of them, as none of them is the caller's "
        "fault. `credential` always moves on.",
    )
    sunset: SunsetSettings | None = Field(
        default=None, description="Planned move before the model's shutdown date."
    )
    defaults: BodyFields = Field(
        default_factory=dict, description="Body fields filled in where the client is silent."
    )
    rewrite: str | None = Field(default=None, description="Name of the rewrite that the model needs.")
    timeouts: TimeoutOverrides | None = Field(
        default=None, description="In place of the upstream's timeouts."
    )
    cache: CacheOverrides | None = Field(default=None, description="In place of the fields of `cache`.")
    hedge: Flag = Field(
        default=False,
        description="Start a second attempt when the first is slow; off, as it is paid for twice.",
    )
    max_output_tokens: Count | None = Field(
        default=None, description="Most output tokens of one answer; null = what the key and the model allow."
    )

    @property
    def upstream_order(self) -> Order | None:
        """Upstreams in order, each with its weight or None; None where any that serves the model may."""
        return _order(self.upstreams)


class RewriteSettings(Model):
    """How a body changes for a model that wants it otherwise.

    In this order: `drop`, `rename`, `set`, then the system prompt.
    """

    drop: tuple[BodyField, ...] = Field(default=(), description="Body fields left out.")
    rename: Mapping[BodyField, BodyField] = Field(
        default_factory=dict, description="Body fields that get another name: old to new."
    )
    set: BodyFields = Field(
        default_factory=dict, description="Body fields that get this value, whatever the caller sent."
    )
    system_prompt: str | None = Field(
        default=None, description="A system message put in front of the others."
    )


def wants_cache(cache: CacheSettings, aliases: Iterable[AliasSettings]) -> bool:
    """Whether any call may be answered from the response cache."""
    return cache.enabled or any(alias.cache is not None and alias.cache.enabled for alias in aliases)
