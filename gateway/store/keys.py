"""The name of every key that Tunegate keeps in the store.

A hash tag in braces decides the slot on a cluster: all that one call touches shares one tag. `{sNN}` is a
shard of virtual keys (the first two characters of a key's id, 00 to 63), `{catalog}` the aliases and what
goes with them.
"""

from __future__ import annotations

KEYS_INDEX = "keys:index"
"""Sorted set: id of every virtual key, scored by when it was made."""

SECRET = "secret"  # noqa: S105  # the name of a key, no secret
"""String: the secret under which virtual keys are hashed, where the environment names none."""

ADMIN = "admin:key"
"""String: hash of the admin key, where the environment names none."""

CATALOG_ALIASES = "{catalog}:aliases"
"""Hash: alias name -> its current revision, JSON."""

CATALOG_EPOCH = "{catalog}:epoch"
"""Counter: grows with every change of the catalogue."""

CATALOG_DISCOVERED = "{catalog}:discovered"
"""Hash: upstream -> JSON list of the models it offers."""

CATALOG_FILE = "{catalog}:file"
"""Hash: alias name -> canonical JSON of the file's own block at its last revision by the file."""


def key_record(key_id: str) -> str:
    """Hash `{record, rev, last_used_at}` of one virtual key."""
    return f"{{s{key_id[:2]}}}:key:{key_id}"


def alias_revisions(name: str) -> str:
    """List of an alias's revisions as JSON, oldest first."""
    return f"{{catalog}}:alias:{name}:revisions"
