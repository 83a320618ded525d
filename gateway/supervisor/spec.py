"""What `tunegate serve` asks of the supervisor: a small JSON file, made from a configuration found valid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

MODULES: Mapping[str, str] = {
    "demo": "gateway.demo",
    "control": "gateway.control",
    "worker": "gateway.worker",
}
"""The entry point of each kind of child, run as `python -m`."""


@dataclass(frozen=True)
class Address:
    """Where a plane listens. Port 0 = chosen by the kernel."""

    host: str
    port: int


@dataclass(frozen=True)
class StoreSpec:
    """The store. Where `embedded` is false the supervisor does not touch it, and the rest means nothing."""

    embedded: bool
    data_dir: Path
    durability: Literal["always", "everysec"]


@dataclass(frozen=True)
class CacheSpec:
    """The embedded server of the response cache, in the store's folder.

    Args:
        is_wanted: whether to start it at once; else it waits for SIGUSR2.
        memory_bytes: what it holds at most.
    """

    is_wanted: bool
    memory_bytes: int


@dataclass(frozen=True)
class HealthSpec:
    """When a child is replaced.

    Args:
        unresponsive_s: seconds without a sign of its event loop; None = never for that.
        memory_bytes: a worker's ceiling; None = none.
        open_files: a worker's ceiling; None = a few less than the system grants.
    """

    unresponsive_s: float | None
    memory_bytes: int | None
    open_files: int | None


@dataclass(frozen=True)
class Spec:
    """One gateway.

    Args:
        config_path: the configuration file as the operator named it, absolute; children read it, we do not.
        runtime_dir: directory of this run, mode 700; children meet there (`control.sock`, `demo.sock`,
            `providers.sock`).
        data: the data plane's address; all workers share its socket.
        admin: the control plane's address.
        workers: how many data-plane processes.
        store: the embedded store, if there is one.
        cache: the cache's own embedded server; None = the cache is elsewhere.
        demo: whether an upstream of kind `demo` is configured.
        drain_grace_s: seconds a worker goes on accepting after SIGTERM.
        drain_timeout_s: seconds its running streams may take after that.
        health: when a child is replaced.
        modules: entry points that replace those of `MODULES`, by kind of child (tests).
        providers: the interpreter of the provider process, where an upstream of kind `litellm` is configured.
    """

    config_path: Path
    runtime_dir: Path
    data: Address
    admin: Address
    workers: int
    store: StoreSpec
    cache: CacheSpec | None
    demo: bool
    drain_grace_s: float
    drain_timeout_s: float
    health: HealthSpec
    modules: Mapping[str, str]
    providers: Path | None = None


def read_spec(path: Path) -> Spec:
    """Read the file that `tunegate serve` wrote. A wrong one is a bug of ours, and raises as it may."""
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    store = raw["store"]
    return Spec(
        config_path=Path(raw["config_path"]),
        runtime_dir=Path(raw["runtime_dir"]),
        data=Address(**raw["data"]),
        admin=Address(**raw["admin"]),
        workers=raw["workers"],
        store=StoreSpec(store["embedded"], Path(store["data_dir"]), store["durability"]),
        cache=CacheSpec(**raw["cache"]) if raw["cache"] is not None else None,
        demo=raw["demo"],
        drain_grace_s=raw["drain_grace_s"],
        drain_timeout_s=raw["drain_timeout_s"],
        health=HealthSpec(**raw["health"]),
        modules={**MODULES, **raw.get("modules", {})},
        providers=Path(raw["providers"]) if raw.get("providers") else None,
    )
