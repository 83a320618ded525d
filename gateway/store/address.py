"""Where the store is, read from a URL by redis-py's own rules."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from redis.asyncio.connection import SSLConnection, parse_url
from redis.exceptions import RedisError

P = TypeVar("P", bound=asyncio.BaseProtocol)
Command = tuple[str | bytes | int, ...]

_PLAIN_OPTIONS = {"host", "port", "path", "db", "username", "password", "client_name", "protocol"}
_LATER = ("redis+cluster://", "redis+sentinel://")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the store listens and how to introduce ourselves. `str()` names it without user and password.

    Args:
        path: a unix socket; where it is given, `host` and `port` say nothing.
        tls: redis-py's recipe for the TLS context, which is mixed at the first connect.
    """

    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    client_name: str = "tunegate"
    tls: SSLConnection | None = field(default=None, repr=False)

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db}"

    @property
    def greeting(self) -> list[Command]:
        """The commands that a new connection starts with.

        The last one is a PING: it fails while the server loads its data, or wants a password we lack.
        """
        commands: list[Command] = []
        if self.password is not None:
            user = (self.username,) if self.username is not None else ()
            commands.append(("AUTH", *user, self.password))
        if self.db:
            commands.append(("SELECT", self.db))
        return [*commands, ("CLIENT", "SETNAME", self.client_name), ("PING",)]

    async def connect(self, protocol: Callable[[], P]) -> P:
        """Open a connection, TLS included. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        if self.path is not None:
            return (await loop.create_unix_connection(protocol, self.path))[1]
        if self.tls is None:
            return (await loop.create_connection(protocol, self.host, self.port))[1]
        context: ssl.SSLContext = self.tls.ssl_context.get()
        return (
            await loop.create_connection(
                protocol, self.host, self.port, ssl=context, server_hostname=self.host
            )
        )[1]


def parse_address(url: str) -> Address:
    """Read `redis://`, `rediss://` or `unix://`, each with `user:password@` and `?db=N` where wanted.

    `rediss://` also takes redis-py's `ssl_*` parameters: `ssl_ca_certs`, `ssl_cert_reqs`,
    `ssl_check_hostname` and the like. A parameter that would be ignored is an error: a mistyped
    `ssl_cert_reqs` must not pass for a checked certificate. Raises `ValueError`, without any part of the URL
    but its scheme and the names of parameters.
    """
    if url.startswith(_LATER):
        raise ValueError(f"{url.partition('://')[0]}:// is not available in this version")
    try:
        options: dict[str, Any] = dict(parse_url(url))
    except ValueError:
        # The cause may quote a piece of the password where that holds a "/" or "#" in plain.
        raise ValueError(
            "not a store URL: it must be redis://, rediss:// or unix://, "
            'with special characters of a password percent-encoded ("/" is %2F)'
        ) from None
    connection_class = options.pop("connection_class", None)
    tls = {name: options.pop(name) for name in list(options) if name.startswith("ssl_")}
    unknown = sorted(options.keys() - _PLAIN_OPTIONS)
    if unknown:
        raise ValueError(f"store URL: unknown parameter {', '.join(unknown)}")
    if tls and connection_class is not SSLConnection:
        raise ValueError(f"store URL: {', '.join(sorted(tls))} needs rediss://")
    if options.pop("protocol", 2) != 2:
        raise ValueError("store URL: only protocol 2 is spoken")
    if url.startswith("unix:") and not options.get("path"):
        raise ValueError("store URL: unix:// needs the path of a socket")
    try:
        recipe = SSLConnection(**tls) if connection_class is SSLConnection else None
    except (RedisError, TypeError) as error:
        raise ValueError(f"store URL: {error}") from error
    return Address(**options, tls=recipe)
