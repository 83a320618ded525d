"""One upstream: where it is, what it holds, which models it serves and how it is called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, PrivateAttr, SecretStr, Tag

from gateway.config.fields import (
    ApiKey,
    BodyFields,
    Count,
    Day,
    Exact,
    Flag,
    HeaderName,
    HeaderText,
    Model,
    ModelName,
    Seconds,
    SecretHeaderText,
    SimpleName,
)
from gateway.config.policy import PriceSettings
from gateway.config.providers import ABSENT
from gateway.config.quirks import QuirkSettings
from gateway.config.urls import is_base_url


class TimeoutOverrides(Model):
    """Timeouts of one alias, in seconds; null = the upstream's own."""

    connect_s: Seconds | None = Field(default=None, description="Seconds to connect, TLS included.")
    first_token_s: Seconds | None = Field(
        default=None, description="Seconds until the first event with content."
    )
    idle_s: Seconds | None = Field(default=None, description="Seconds between two pieces of an answer.")
    total_s: Seconds | None = Field(default=None, description="Seconds for the whole call.")

    @property
    def given(self) -> dict[str, float]:
        """Only what is set, by name."""
        return {name: value for name, value in self if value is not None}


class TimeoutSettings(Model):
    """How long an upstream may take, in seconds."""

    connect_s: Seconds = Field(
        default=3,
        description="Seconds to connect, TLS included; a healthy host answers within one, a lost packet "
        "costs another.",
    )
    first_token_s: Seconds = Field(
        default=60,
        description="Seconds until the head of a reply and, for streams, the first event with content; a "
        "cold fine-tune loads for most of it.",
    )
    idle_s: Seconds = Field(
        default=60, description="Seconds between two pieces of an answer; reasoning models pause."
    )
    total_s: Seconds = Field(
        default=900, description="Seconds for the whole call; the longest answers take about ten minutes."
    )


class ModelSettings(Model):
    """A model that its upstream chooses by fields of the body, such as a LoRA adapter."""

    set: BodyFields = Field(
        default_factory=dict, description="Body fields that choose this model; they replace the caller's."
    )


def _kind_of_models(value: Any) -> str | None:
    if isinstance(value, str):
        return "discover" if value == "discover" else None
    if isinstance(value, Mapping):
        return "chosen"
    return "listed" if isinstance(value, list | tuple) else None


def _are_written_out(models: Mapping[str, ModelSettings | None]) -> Mapping[str, ModelSettings | None]:
    if any("*" in model for model in models):
        raise ValueError("ids chosen by body fields are written out, without *")
    return models


Models = Annotated[
    Annotated[Literal["discover"], Tag("discover")]
    | Annotated[tuple[ModelName, ...], Tag("listed")]
    | Annotated[Mapping[ModelName, ModelSettings | None], AfterValidator(_are_written_out), Tag("chosen")],
    Discriminator(
        _kind_of_models,
        custom_error_type="shape",
        custom_error_message='write a list of ids and globs, "discover", a mapping of ids, or null',
    ),
]


def _is_org(value: str) -> str:
    if not value or ":" in value or not value.isprintable() or any(letter.isspace() for letter in value):
        raise ValueError('an org segment is the third part of an ft: id, without ":"; "*" is all of them')
    return value


def has_azure_identity() -> bool:
    """True where the extra `azure` is installed."""
    try:
        return find_spec("azure.identity") is not None
    except ModuleNotFoundError:
        return False


def _is_api_version(value: str) -> str:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(-preview)?|preview", value):
        raise ValueError("a version is a day, such as 2024-10-21 or 2025-04-01-preview, or null")
    return value


def _is_deployment(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", value):
        raise ValueError("a deployment is named with letters, digits, dots, dashes and underscores")
    return value


def _is_scope(value: str) -> str:
    if not re.fullmatch(r"https://[\x21-\x7e]+/\.default", value):
        raise ValueError("a scope is a URL that ends with /.default")
    return value


ENTRA_SCOPE = "https://cognitiveservices.azure.com/.default"
"""What a token of Azure's public cloud is asked for, so that its models may be called with it."""


class UpstreamSettings(Model):
    """A remote service that serves models."""

    kind: Literal["openai", "azure", "litellm", "demo"] = Field(
        default="openai",
        description="`openai` is any endpoint compatible with the official API; `litellm` is a provider "
        "with an API of its own; `demo` is the simulated one inside Tunegate.",
    )
    base_url: Annotated[str, AfterValidator(is_base_url)] | None = Field(
        default=None,
        description="Where its API begins, such as `https://api.openai.com/v1`; needed by every kind but "
        "`demo`.",
    )
    api_keys: tuple[ApiKey, ...] = Field(
        default=(),
        description="Credentials, given as `${VAR}`; more than one take turns. Absent or `[]` = no "
        "Authorization is sent; all entries empty = this upstream is disabled.",
    )
    organization: HeaderText | None = Field(default=None, description="Sent as `openai-organization`.")
    project: HeaderText | None = Field(default=None, description="Sent as `openai-project`.")
    owns: tuple[Annotated[str, AfterValidator(_is_org)], ...] = Field(
        default=(),
        description='Org segments of `ft:` ids that this account serves; `["*"]` all, `[]` base models '
        "only. Empty, since a fine-tune sent to an account without it is a 404 that costs a "
        "round trip.",
    )
    training: Flag = Field(
        default=False,
        description="Files, uploads, fine-tuning jobs and batches go here; at most one upstream.",
    )
    models: Models | None = Field(
        default=None,
        description="null = any id (kind `azure`: none but `deployments`) | list of ids or globs | "
        '"discover" = its own `GET /models`, refreshed '
        "| mapping of ids to `{set: {field: value}}` for models chosen by fields of the body. "
        "`ft:` ids go by `owns` alone.",
    )
    stream_usage: Flag = Field(
        default=True,
        description="It accepts `stream_options.include_usage`; older relays refuse it with 400.",
    )
    timeouts: TimeoutSettings = Field(default_factory=TimeoutSettings, description="How long it may take.")
    max_concurrency: Count = Field(default=1000, description="Calls in flight at once, per process.")
    price_multiplier: Annotated[Exact, Field(ge=0, le=1000)] = Field(
        default=1.0,
        validate_default=True,
        description="Factor on every price here, those of the block `prices` included, but not on its own "
        "`prices`; for relays with a margin. 0 where its tokens cost nothing.",
    )
    prices: Mapping[ModelName, PriceSettings] = Field(
        default_factory=dict,
        description="What it charges, by id or glob; beats the block `prices`, which beats the bundled ones.",
    )
    transport: Literal["http1", "httpx"] = Field(
        default="http1",
        description="`http1` is the fast path; `httpx` for egress proxies and HTTP/2-only hosts.",
    )
    allow_private: Flag = Field(
        default=True,
        description="false refuses private and loopback addresses at connect time; true, as model servers "
        "commonly live there. Link-local and metadata addresses are refused always.",
    )
    trace_context: Flag = Field(
        default=False,
        description="Pass the W3C trace context (`traceparent`, `tracestate`) on to it; off, as a caller's "
        "trace is nobody else's business.",
    )
    quirks: QuirkSettings = Field(
        default_factory=QuirkSettings,
        description="What a compatible endpoint does not take; `tunegate upstreams probe` finds it.",
    )
    headers: Mapping[HeaderName, SecretHeaderText] = Field(
        default_factory=dict,
        description="Sent with every call; not Authorization, nor what belongs to one connection.",
    )
    shutdown_dates: Mapping[ModelName, Day | None] = Field(
        default_factory=dict,
        description="Id or glob: day it ends as `YYYY-MM-DD`, or null = none. Beats what the upstream "
        "says, which beats the bundled table.",
    )
    deployments: Mapping[ModelName, Annotated[str, AfterValidator(_is_deployment)]] = Field(
        default_factory=dict,
        description="Kind `azure`: deployment that serves each model id; ids of `models` are names of "
        "deployments themselves.",
    )
    api_version: Annotated[str, AfterValidator(_is_api_version)] | None = Field(
        default=None,
        description="Kind `azure`: version of its API, such as `2024-10-21`, for the URLs with "
        "`/deployments/`; null = the v1 surface, `preview` = that with previews.",
    )
    auth: Literal["key", "entra"] = Field(
        default="key",
        description="Kind `azure`: `key` sends `api_keys`; `entra` a token of Microsoft Entra for the "
        "identity that the machine has, which needs `pip install tunegate[azure]`.",
    )
    entra_scope: Annotated[str, AfterValidator(_is_scope)] = Field(
        default=ENTRA_SCOPE, description="Kind `azure`: what the token is for; other clouds have their own."
    )

    provider: SimpleName | None = Field(
        default=None,
        description="Kind `litellm`: litellm's name of the provider, such as `anthropic`; null = model ids "
        "begin with it (`anthropic/...`).",
    )
    params: BodyFields = Field(
        default_factory=dict,
        description="Kind `litellm`: further arguments of every call, such as `aws_region_name`. No caller "
        "can set or change them. Secrets belong into the environment.",
    )
    _lacks: str | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any, /) -> None:
        """Note what its kind needs and this machine has not; the loader knows."""
        if self.kind == "litellm" and context and context.get("providers") is None:
            self._lacks = ABSENT
        elif self.auth == "entra" and not has_azure_identity():
            self._lacks = "auth entra needs a package: pip install 'tunegate[azure]'"

    @property
    def credentials(self) -> tuple[SecretStr, ...]:
        """The keys that are not empty, in order.

        Empty also where the upstream is `anonymous`: it is called without Authorization, as one credential.
        """
        return tuple(key for key in self.api_keys if key.get_secret_value())

    @property
    def anonymous(self) -> bool:
        """True where none of `api_keys` is sent: it is absent or an empty list."""
        return not self.api_keys

    @property
    def disabled(self) -> str | None:
        """Why it is not called: every listed key is empty, or this machine lacks what its kind needs."""
        if self.anonymous or self.credentials:
            return self._lacks
        return "every entry of api_keys is empty"

    @property
    def enabled(self) -> bool:
        """True where calls may go there."""
        return self.disabled is None

    @property
    def is_ours(self) -> bool:
        """True where a process of this gateway stands between it and the upstream, or is it."""
        return self.kind in {"demo", "litellm"}

    @property
    def discovers(self) -> bool:
        """True where its own `GET /models` says what it serves."""
        return self.models == "discover"

    @property
    def listed(self) -> tuple[str, ...] | None:
        """Ids and globs that the file lists for it; None where it serves any id, or discovers them."""
        if self.kind == "azure":
            named = () if self.models is None or isinstance(self.models, str) else tuple(self.models)
            return tuple(dict.fromkeys((*self.deployments, *named)))
        if self.models is None or isinstance(self.models, str):
            return None
        return tuple(self.models)

    def adapter(self, model: str) -> Mapping[str, Any]:
        """Body fields that choose `model` here; empty where its id alone does."""
        chosen = self.models.get(model) if isinstance(self.models, Mapping) else None
        return chosen.set if chosen is not None else {}

    def deployment(self, model: str) -> str | None:
        """What Azure has for `model`; None at other kinds, which go by the id itself."""
        return self.deployments.get(model, model) if self.kind == "azure" else None
