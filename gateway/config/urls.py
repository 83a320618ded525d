"""What counts as an upstream's base URL."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_base_url(url: str) -> str:
    """Check an upstream's base URL and return it without a slash at its end.

    Raises:
        ValueError: which says what is wrong and does not quote the URL, as it may hold a password.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("a URL has no spaces, control or non-ASCII characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError("not a URL") from error
    if parts.scheme not in {"http", "https"}:
        raise ValueError("a URL begins with https:// or http://")
    if not parts.hostname:
        raise ValueError("the URL has no host")
    if "@" in parts.netloc:
        raise ValueError("a URL holds no user or password: give the credential in api_keys")
    if "?" in url or "#" in url:
        raise ValueError("a base URL has no query (?) and no fragment (#)")
    if port == 0:
        raise ValueError("port 0 cannot be called")
    return url.rstrip("/")
