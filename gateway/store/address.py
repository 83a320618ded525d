"""Where the store is, read from a URL by redis-py's own rules."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode

if TYPE_CHECKING:
    from redis.asyncio.connection import SSLConnection

P = TypeVar("P", bound=asyncio.BaseProtocol)
Command = tuple[str | bytes | int, ...]

_PLAIN_OPTIONS = {"host", "port", "path", "db", "username", "password", "client_name", "protocol"}
_SOCKET = re.compile(r"unix://(/[\w./-]+)", re.ASCII)
_MANY = re.compile(r"(rediss?)\+(cluster|sentinel)://([^/?#]*)([^?#]*)(.*)", re.DOTALL)
_SENTINEL_PORT = 26379
_ENCODED = 'special characters of a password are percent-encoded ("/" is %2F)'


@dataclass(frozen=True, slots=True)
class Address:
    """Where one server listens and how to introduce ourselves. `str()` names it without user and password.

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
        return f"{self.scheme}://{self.host_and_port}/{self.db}"

    @property
    def scheme(self) -> str:
        """`redis`, or `rediss` over TLS."""
        return "rediss" if self.tls else "redis"

    @property
    def host_and_port(self) -> str:
        """As a URL has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

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

    def at(self, host: str, port: int) -> Address:
        """Another server, to be spoken to in the same way."""
        return replace(self, host=host, port=port)

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


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Some servers of a cluster: each knows all the others, and all are spoken to in the same way."""

    seeds: tuple[Address, ...]

    def __str__(self) -> str:
        return f"{self.seeds[0].scheme}+cluster://{_hosts(self.seeds)}"


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """The sentinels that know which server is the primary of `service`.

    Args:
        server: how to speak to the primary; its host and port are for the sentinels to say.
    """

    sentinels: tuple[Address, ...]
    service: str
    server: Address

    def __str__(self) -> str:
        db = f"/{self.server.db}" if self.server.db else ""
        return f"{self.server.scheme}+sentinel://{_hosts(self.sentinels)}/{self.service}{db}"


def parse_address(url: str) -> Address | ClusterAddress | SentinelAddress:
    """Read the URL of a store, in any of these forms, with `user:password@` where wanted.

    - `redis://` or `rediss://` (TLS), `host:port/db`; `unix://`, a path and `?db=N`
    - `redis+cluster://` or `rediss+cluster://`, some of the nodes as `h1:p,h2:p`
    - `redis+sentinel://` or `rediss+sentinel://`, the sentinels as `h1:p,h2:p`, then `/service` and `/db`.
      User and password are the servers' own; the sentinels' are `?sentinel_username=` and
      `sentinel_password=`.

    TLS takes redis-py's `ssl_*` parameters: `ssl_ca_certs`, `ssl_cert_reqs`, `ssl_check_hostname` and the
    like. A parameter that would be ignored is an error: a mistyped `ssl_cert_reqs` must not pass for a
    checked certificate. Raises `ValueError`, without any part of the URL but its scheme and the names of
    parameters.
    """
    many = _MANY.fullmatch(url)
    if many is None:
        return _parse(url)
    scheme, kind, netloc, path, query = many.groups()
    userinfo, at, hosts = netloc.rpartition("@")
    each = hosts.split(",")
    if any(not host or host.startswith(":") for host in each):
        raise ValueError(f"store URL: {scheme}+{kind}:// needs its hosts as h1:port,h2:port; {_ENCODED}")
    if kind == "cluster":
        seeds = tuple(_parse(f"{scheme}://{userinfo}{at}{host}{query}") for host in each)
        if path not in {"", "/", "/0"} or seeds[0].db:
            raise ValueError("store URL: a cluster has database 0 only")
        return ClusterAddress(seeds)
    place = re.fullmatch(r"/([^/]+)(?:/(\d+))?/?", path)
    if place is None:
        raise ValueError(f"store URL: after the sentinels comes /service or /service/db; {_ENCODED}")
    query, user, password = _without_sentinels_own(query)
    sentinels = [_parse(f"{scheme}://{host}{query}", _SENTINEL_PORT) for host in each]
    return SentinelAddress(
        tuple(replace(sentinel, db=0, username=user, password=password) for sentinel in sentinels),
        unquote(place[1]),
        _parse(f"{scheme}://{userinfo}{at}{each[0]}/{place[2] or ''}{query}"),
    )


def _parse(url: str, port: int = 6379) -> Address:
    """Read the URL of one server; `port` is the one of a URL that names none."""
    if socket := _SOCKET.fullmatch(url):  # as the embedded store's, whose processes need no redis-py
        return Address(path=socket[1])
    from redis.asyncio.connection import SSLConnection, parse_url  # noqa: PLC0415  # slow to load
    from redis.exceptions import RedisError  # noqa: PLC0415  # as above

    try:
        options: dict[str, Any] = {"port": port, **parse_url(url)}
    except ValueError:
        # The cause may quote a piece of the password where that holds a "/" or "#" in plain.
        raise ValueError(
            "not a store URL: it must be redis://, rediss://, unix://, redis+cluster:// or "
            f"redis+sentinel://; {_ENCODED}"
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


def _without_sentinels_own(query: str) -> tuple[str, str | None, str | None]:
    """A query without the sentinels' user and password, and these two."""
    given = parse_qsl(query.removeprefix("?").partition("#")[0])
    own = dict(each for each in given if each[0] in {"sentinel_username", "sentinel_password"})
    rest = urlencode([each for each in given if each[0] not in own])
    return f"?{rest}" if rest else "", own.get("sentinel_username"), own.get("sentinel_password")


def _hosts(addresses: tuple[Address, ...]) -> str:
    return ",".join(address.host_and_port for address in addresses)
