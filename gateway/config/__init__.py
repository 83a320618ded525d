"""The YAML file: typed models, the loader, and messages for people who mistype.

`load` turns text into one frozen `Settings`, or raises `ConfigError` with every mistake at once, each
with its path, its line and a suggestion. `check` gives the warnings of a file that loads.
This room reads no file but the one it is told to and never the process's environment by itself: both
are handed in. It does not say what a name means (`catalog/`) and does not watch the file (`control/`).
Read `models.py` first, then `loader.py`.
"""

from gateway.config.advice import check
from gateway.config.alias import AliasSettings, FallbackSettings, RewriteSettings, SunsetSettings
from gateway.config.loader import load, load_alias, load_file
from gateway.config.models import DynamicSettings, Settings
from gateway.config.policy import (
    CacheOverrides,
    CacheSettings,
    KeyLimitSettings,
    LedgerSettings,
    LimitSettings,
    PriceSettings,
    ReloadSettings,
    StoreFailureSettings,
)
from gateway.config.problem import ConfigError, Problem
from gateway.config.static import AdminSettings, ServerSettings, StaticSettings, StoreSettings
from gateway.config.upstream import ModelSettings, TimeoutOverrides, TimeoutSettings, UpstreamSettings

__all__ = [
    "AdminSettings",
    "AliasSettings",
    "CacheOverrides",
    "CacheSettings",
    "ConfigError",
    "DynamicSettings",
    "FallbackSettings",
    "KeyLimitSettings",
    "LedgerSettings",
    "LimitSettings",
    "ModelSettings",
    "PriceSettings",
    "Problem",
    "ReloadSettings",
    "RewriteSettings",
    "ServerSettings",
    "Settings",
    "StaticSettings",
    "StoreFailureSettings",
    "StoreSettings",
    "SunsetSettings",
    "TimeoutOverrides",
    "TimeoutSettings",
    "UpstreamSettings",
    "check",
    "load",
    "load_alias",
    "load_file",
]
