"""Settings that need a restart: listeners, processes, the store, and where telemetry goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from gateway.config.fields import Amount, Count, Flag, Grace, Model, Number, Port, Seconds, Whole
from gateway.config.telemetry import TelemetrySettings
from gateway.config.urls import is_store_url


def _from_file(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return (Path(base) / path).resolve() if base is not None else path


def _is_host(host: str) -> str:
    if not host or not host.isprintable() or any(sign in host for sign in " /@[]"):
        raise ValueError("a host name or an address, without scheme, port or brackets")
    return host


FilePath = Annotated[Path, AfterValidator(_from_file)]
Host = Annotated[str, AfterValidator(_is_host)]


class ServerSettings(Model):
    """The data plane: where it listens, how many processes serve it, what a request may cost them."""

    host: Host = Field(
        default="127.0.0.1",
        description="Address to listen on; loopback unless said otherwise, so nothing is open by accident.",
    )
    port: Port = Field(default=8080, description="TCP port of `/v1`; 0 = the kernel chooses.")
    workers: Annotated[Whole, Field(ge=1, le=1024)] = Field(
        default=1,
        description="Data-plane processes; one per core is the most that helps. 1 keeps the memory of a "
        "small machine.",
    )
    max_body_bytes: Count = Field(
        default=10_485_760,
        description="Largest request body, in bytes; 10 MiB holds a long chat with images inside.",
    )
    max_json_depth: Annotated[Whole, Field(ge=1, le=500)] = Field(
        default=64,
        description="Deepest nesting of a request body; real tool schemas stay below 20, parsers suffer "
        "from about 1000.",
    )
    max_response_bytes: Count = Field(
        default=67_108_864,
        description="Largest JSON reply of an upstream, in bytes, as it is read whole; 64 MiB holds a "
        "page of embeddings.",
    )
    max_connections: Count = Field(
        default=8000,
        description="Client connections of one worker; the next ones are answered 503 and closed. Less "
        "where the system grants fewer open files than twice as many.",
    )
    max_in_flight: Count = Field(
        default=4000,
        description="Calls in progress in one worker, streams included; an open stream takes some 40 KB.",
    )
    max_queue: Amount = Field(
        default=1000,
        description="Calls that wait in one worker while `max_in_flight` are in progress; the next ones "
        "are answered 503 at once.",
    )
    queue_timeout_s: Seconds = Field(
        default=5,
        description="Seconds that a call may wait so; then it is answered 503. Most clients come back.",
    )
    keepalive_comment_s: Seconds = Field(
        default=15,
        description="Seconds of silence after which a stream gets a comment; proxies commonly cut at 60.",
    )
    write_stall_s: Seconds = Field(
        default=30, description="Seconds a client may leave its stream unread before the call is ended."
    )
    header_timeout_s: Seconds = Field(
        default=10, description="Seconds for a request's head to arrive; longer is a slow-loris attack."
    )
    body_timeout_s: Seconds = Field(
        default=30, description="Seconds for a request's body to arrive; 10 MiB at 3 Mbit/s."
    )
    drain_grace_s: Grace = Field(
        default=5,
        description="Seconds between `readyz` turning 503 and the refusal of new calls, for load "
        "balancers to notice.",
    )
    drain_timeout_s: Grace = Field(
        default=300,
        description="Seconds that running streams get to finish while draining; long answers take minutes.",
    )
    worker_unresponsive_s: Annotated[Number, Field(ge=3)] | None = Field(
        default=30,
        description="Seconds without a turn of its event loop after which a worker, or the control process, "
        "is ended and started anew; one that is only busy turns it now and then. null = never, for "
        "debuggers.",
    )
    worker_memory_limit_bytes: Annotated[Whole, Field(ge=134_217_728)] | None = Field(
        default=None,
        description="Memory of one worker, in bytes, swapped included, above which another takes its place "
        "and it finishes its streams; a worker starts with some 70 MB. null = no bound but the system's.",
    )
    worker_max_open_files: Annotated[Whole, Field(ge=128)] | None = Field(
        default=None,
        description="Open files of one worker, sockets included, above which another takes its place; null = "
        "32 less than the system grants, which is more than its connections take.",
    )


class AdminSettings(Model):
    """The control plane: administration and metrics."""

    host: Host = Field(
        default="127.0.0.1",
        description="Address to listen on; loopback, since whoever reaches it with the admin key owns the "
        "gateway.",
    )
    port: Port = Field(default=8081, description="TCP port; 0 = the kernel chooses.")
    metrics_auth: Flag = Field(
        default=False,
        description="Ask for the admin key at `/metrics` too; off, as scrapers rarely carry keys and "
        "labels hold no user input.",
    )


class StoreSettings(Model):
    """The Redis-protocol store of keys, limits, usage and aliases."""

    url: Annotated[str, AfterValidator(is_store_url)] = Field(
        default="embedded",
        repr=False,
        description="`embedded` (a Valkey server of the gateway's own), or `redis://`, `rediss://` (TLS), "
        "`unix://`; `redis+cluster://h1:p,h2:p` (some nodes of a cluster); "
        "`redis+sentinel://h1:p,h2:p/service` (sentinels and the name of what they watch); the last two "
        "with `rediss` too.",
    )
    data_dir: FilePath = Field(
        default=Path("data"),
        validate_default=True,
        description="Folder of the embedded server's files and of the settlement journal, relative to "
        "this file.",
    )
    durability: Literal["always", "everysec"] = Field(
        default="always",
        description="When the embedded server's append-only file reaches the disk: `always` before an "
        "answer, as money is counted there; `everysec` may lose one second.",
    )
    timeout_ms: Count = Field(
        default=100,
        description="Milliseconds for any call on the hot path, half as many for one to the response cache; "
        "a breaker opens after five failures in a row.",
    )
    settle_timeout_ms: Count = Field(
        default=250,
        description="Milliseconds for a settlement, then it goes to the journal; above `timeout_ms`, as a "
        "lost one costs more.",
    )
    wait_replicas: Amount = Field(
        default=0,
        description="Replicas that must hold a settlement within `settle_timeout_ms` before it counts as "
        "stored, else it goes to the journal; 0, as the embedded server has none.",
    )
    cache_url: Annotated[str, AfterValidator(is_store_url)] | None = Field(
        default=None,
        repr=False,
        description="A server for the response cache, named as in `url`, so that nothing of the ledger is "
        "ever evicted; `embedded` is a small one of the gateway's own. null = that where `url` is embedded, "
        "else the server of `url`, of whose `maxmemory` the cache leaves a fifth.",
    )
    cache_memory_bytes: Annotated[Count, Field(ge=8_388_608)] = Field(
        default=67_108_864,
        description="Memory of the embedded server for the response cache, in bytes; what was not used for "
        "longest goes when it is full. 64 MiB holds tens of thousands of short answers.",
    )

    @property
    def embedded(self) -> bool:
        """True where the gateway starts its own server."""
        return self.url == "embedded"

    @property
    def cache_embedded(self) -> bool:
        """True where the gateway starts a server of its own for the response cache, once that is wanted."""
        return (self.cache_url or self.url) == "embedded"


class StaticSettings(Model):
    """What a reload does not change: a new value waits for a restart."""

    server: ServerSettings = Field(default_factory=ServerSettings, description="The data plane.")
    admin: AdminSettings = Field(default_factory=AdminSettings, description="The control plane.")
    store: StoreSettings = Field(default_factory=StoreSettings, description="The store.")
    telemetry: TelemetrySettings = Field(
        default_factory=TelemetrySettings, description="Traces and metrics over OTLP."
    )
