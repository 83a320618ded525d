"""What counts as a URL of an upstream and of a store."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

_MANY = re.compile(r"rediss?\+(cluster|sentinel)://([^/?#]*)([^?#]*)")


def _split(url: str) -> SplitResult:
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("a URL has no spaces, control or non-ASCII characters")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it is checked when it is asked for
    except ValueError:
        # `from None`: the original quotes the URL, which may hold a password.
        raise ValueError("not a URL: its host or port cannot be read") from None
    return parts


def is_base_url(url: str) -> str:
    """Check an upstream's base URL and return it without a slash at its end.

    Raises:
        ValueError: it says what is wrong and does not quote the URL, as it may hold a password.
    """
    parts = _split(url)
    if parts.scheme not in {"http", "https"}:
        raise ValueError("a base URL begins with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("a base URL holds no user or password: give the credential in api_keys")
    if not parts.hostname:
        raise ValueError("the base URL has no host")
    if parts.port == 0:
        raise ValueError("port 0 cannot be called")
    if "?" in url or "#" in url:
        raise ValueError("a base URL has no query (?) and no fragment (#)")
    return url.rstrip("/")


def is_store_url(url: str) -> str:
    """Check the URL of a store. Raises ValueError, which does not quote it: it may hold a password."""
    if url == "embedded":
        return url
    many = _MANY.match(url)
    if many is not None:
        kind, netloc, path = many.groups()
        if not netloc.rpartition("@")[2]:
            raise ValueError("the store's URL has no host")
        if kind == "sentinel" and not path.strip("/"):
            raise ValueError("after the sentinels comes the name of their service: h1:port,h2:port/service")
        return url
    parts = _split(url)
    if parts.scheme == "unix":
        if not parts.path.startswith("/"):
            raise ValueError("write unix:///path/of/the/socket")
    elif parts.scheme not in {"redis", "rediss"}:
        raise ValueError(
            "write embedded, redis://host:port/db, rediss://host:port/db, unix:///path/of/the/socket, "
            "redis+cluster://h1:port,h2:port or redis+sentinel://h1:port,h2:port/service"
        )
    elif not parts.hostname:
        raise ValueError("the store's URL has no host")
    return url
