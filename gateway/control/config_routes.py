"""`/admin/v1/config`: the configuration in force, and reading the file again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, SecretStr
from pydantic_core import to_jsonable_python

from gateway.config import Settings
from gateway.control.reload import ConfigReloader
from gateway.control.snapshot import SnapshotKeeper
from gateway.store.address import parse_address

_MASK = "***"


class ShownConfig(BaseModel):
    """The configuration in force, defaults included; secrets are `***`, unset ones empty."""

    object: Literal["config"] = "config"
    config: dict[str, Any]


class ShownReload(BaseModel):
    """What a reload did, as dotted paths. `static_ignored` waits for a restart; `workers` have swapped."""

    object: Literal["config.reload"] = "config.reload"
    changed: list[str]
    static_ignored: list[str]
    workers: int


def config_routes(keeper: SnapshotKeeper, reloader: ConfigReloader) -> APIRouter:
    """The routes over the configuration in force."""
    router = APIRouter(prefix="/admin/v1/config", tags=["config"])

    @router.get("")
    async def get_config() -> ShownConfig:
        """The configuration in force. Its aliases are the file's; `/admin/v1/aliases` has those in use."""
        return ShownConfig(config=without_secrets(keeper.settings))

    @router.post("/reload")
    async def reload_config() -> ShownReload:
        """Read the file again. A bad one changes nothing, and `errors` lists its mistakes."""
        done = await reloader.reload()
        return ShownReload(changed=done.changed, static_ignored=done.static_ignored, workers=done.workers)

    return router


def without_secrets(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values that may be shown."""
    shown: dict[str, Any] = _masked(settings.model_dump())
    if not settings.store.embedded:
        shown["store"]["url"] = str(parse_address(settings.store.url))
    return shown


def _masked(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return _MASK if value.get_secret_value() else ""
    if isinstance(value, Mapping):
        return {str(key): _masked(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(inner) for inner in value]
    return to_jsonable_python(value)
