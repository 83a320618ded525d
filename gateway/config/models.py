"""The whole file as one frozen snapshot.

`static.py` has the blocks that need a restart; `upstream.py`, `alias.py` and `policy.py` have those
that a reload swaps. Attribute names are the file's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, PrivateAttr

from gateway.config.alias import AliasSettings, RewriteSettings
from gateway.config.document import Places
from gateway.config.fields import AliasName, Model, ModelName, SimpleName
from gateway.config.policy import (
    CacheSettings,
    LedgerSettings,
    LimitSettings,
    PriceSettings,
    ReloadSettings,
    StoreFailureSettings,
)
from gateway.config.static import StaticSettings
from gateway.config.upstream import UpstreamSettings


class DynamicSettings(Model):
    """What a reload swaps in all workers at once."""

    reload: ReloadSettings = Field(
        default_factory=ReloadSettings, description="When this file is read again."
    )
    ledger: LedgerSettings = Field(
        default_factory=LedgerSettings, description="The settled records of usage."
    )
    upstreams: Mapping[SimpleName, UpstreamSettings] = Field(
        default_factory=dict, description="Remote services, by name; their order counts."
    )
    aliases: Mapping[AliasName, AliasSettings] = Field(
        default_factory=dict, description="Names that clients send as `model`."
    )
    rewrites: Mapping[SimpleName, RewriteSettings] = Field(
        default_factory=dict, description="Named changes of a request's body."
    )
    limits: LimitSettings = Field(default_factory=LimitSettings, description="Limits of keys that name none.")
    cache: CacheSettings = Field(default_factory=CacheSettings, description="The response cache.")
    prices: Mapping[ModelName, PriceSettings] = Field(
        default_factory=dict, description="Prices by id or glob, in place of the bundled ones."
    )
    on_store_failure: StoreFailureSettings = Field(
        default_factory=StoreFailureSettings, description="What holds while the store is away."
    )


class Settings(DynamicSettings, StaticSettings):
    """One good file. Equal where two files say the same, wherever their lines stand."""

    _places: Places = PrivateAttr(default_factory=Places)

    def model_post_init(self, context: Any, /) -> None:
        """Keep where values stand, which the loader hands in as `places`."""
        if context and "places" in context:
            self._places = context["places"]

    @property
    def places(self) -> Places:
        """The lines of the file these settings came from."""
        return self._places

    @property
    def static(self) -> StaticSettings:
        """The blocks that need a restart, by themselves."""
        return StaticSettings.model_construct(
            **{name: getattr(self, name) for name in StaticSettings.model_fields}
        )

    @property
    def dynamic(self) -> DynamicSettings:
        """The blocks that a reload swaps, by themselves."""
        return DynamicSettings.model_construct(
            **{name: getattr(self, name) for name in DynamicSettings.model_fields}
        )
