"""The text of a virtual key, `tg-<id>-<secret>`, and the digest that is stored instead of it.

The id is public: it names the key in logs, routes and the ledger. Its first two characters are the key's
shard, so every process finds the record of a presented key, and all that its calls touch, in one slot.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import string
from collections.abc import Callable, Mapping

SHARDS = 64

_ID_ALPHABET = string.ascii_lowercase + string.digits
_SECRET_ALPHABET = string.ascii_letters + string.digits
_SECRET_LENGTH = 40  # 238 bits; alphanumeric, so that a double click selects it and no shell quotes it
_KEY_ID = re.compile(r"(?:[0-5][0-9]|6[0-3])[a-z0-9]{10}")
_KEY = re.compile(rf"tg-({_KEY_ID.pattern})-([A-Za-z0-9]{{{_SECRET_LENGTH}}})")


def shard_of(owner: str) -> str:
    """The shard, "00" to "63", of all keys of this owner: a team, or the key's own name where it has none."""
    hashed = hashlib.sha256(owner.encode("utf-8", "surrogatepass")).digest()
    return f"{int.from_bytes(hashed[:8], 'big') % SHARDS:02d}"


def new_key_id(owner: str, randbelow: Callable[[int], int]) -> str:
    """A fresh id: the shard of `owner`, then ten characters drawn with `randbelow` (`secrets.randbelow`)."""
    return shard_of(owner) + "".join(_ID_ALPHABET[randbelow(len(_ID_ALPHABET))] for _ in range(10))


def new_secret(randbelow: Callable[[int], int]) -> str:
    """A fresh secret part, alphanumeric."""
    return "".join(_SECRET_ALPHABET[randbelow(len(_SECRET_ALPHABET))] for _ in range(_SECRET_LENGTH))


def format_key(key_id: str, secret: str) -> str:
    """The text that the holder of a key sends as bearer token."""
    return f"tg-{key_id}-{secret}"


def redacted(key_id: str) -> str:
    """What may be shown of a key later: its public part."""
    return f"tg-{key_id}-***"


def split_key(text: str) -> tuple[str, str] | None:
    """(id, secret) of a well-formed key, else None: such text needs no look-up."""
    found = _KEY.fullmatch(text)
    return (found[1], found[2]) if found else None


def is_key_id(text: str) -> bool:
    """True where `text` could be the id of a key."""
    return _KEY_ID.fullmatch(text) is not None


def configured_secret(environment: Mapping[str, str]) -> bytes | None:
    """The gateway's secret as the operator gave it (`TUNEGATE_SECRET`); None: the stored one counts."""
    return environment.get("TUNEGATE_SECRET", "").encode() or None


def digest(gateway_secret: bytes, key: str) -> str:
    """Hex HMAC-SHA256 of the whole key: what is stored, useless without the gateway's secret."""
    return hmac.digest(gateway_secret, key.encode(), "sha256").hex()


def matches(stored: str, presented: str) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(stored, presented)
