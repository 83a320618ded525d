"""The name of every key that Tunegate keeps in the store.

A hash tag in braces decides the slot on a cluster: all that one call touches shares one tag. `{sNN}` is a
shard of virtual keys (the first two characters of a key's id, 00 to 63), `{catalog}` the aliases and what
goes with them. In the response cache, which may be a server of its own, each cache key is a tag.
"""

from __future__ import annotations

from typing import NamedTuple

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

CATALOG_HEALTH = "{catalog}:health"
"""Hash: what each replica found of upstreams (`health_repository.py`)."""

CATALOG_FILE = "{catalog}:file"
"""Hash: alias name -> canonical JSON of the file's own block at its last revision by the file."""


def key_record(key_id: str) -> str:
    """Hash `{record, rev, last_used_at}` of one virtual key."""
    return f"{{s{key_id[:2]}}}:key:{key_id}"


def alias_revisions(name: str) -> str:
    """List of an alias's revisions as JSON, oldest first."""
    return f"{{catalog}}:alias:{name}:revisions"


def key_limits(key_id: str) -> str:
    """Hash: the buckets of a virtual key, and its calls at once by process.

    `rpm`, `tpm`: levels in 1/60000 of a request or token; `rpm_at`, `tpm_at`: the ms they hold for; `rpm_of`,
    `tpm_of`: the limits they hold under. `open`: calls at once; of it `n:<process>` calls of one process,
    `e:<process>` until when they count, `s:<process>` since when it is counted; `check_at`: no count ends
    before. Expires when the buckets are empty and no call is open.
    """
    return f"{{s{key_id[:2]}}}:lim:{key_id}"


def key_account(key_id: str) -> str:
    """Hash: money of a virtual key, in nano-dollars; it lives as long as the key.

    `cost_nanousd`: of all its calls; `held`: bounds of its open calls; `granted`, `spent`: prepaid credit.
    """
    return f"{{s{key_id[:2]}}}:acct:{key_id}"


def key_period(key_id: str, period: str) -> str:
    """Hash: what a virtual key used in a day (`yyyymmdd`) or month (`yyyymm`), UTC.

    `requests`, `prompt_tokens`, `completion_tokens`, `cost_nanousd`, and `held`: bounds of the calls that
    were admitted in it and are open. A day's expires after 4 days, a month's after 64.
    """
    return f"{key_account(key_id)}:{period}"


def reservations(shard: str) -> str:
    """Hash: request id -> open reservation. Each goes with its settlement.

    `admitted_ms process since tokens held bound credit key basis`: `since` as in `key_limits`, `held` the
    nano-dollars it holds, `bound` the most it may cost ("-" where unknown).
    """
    return f"{{s{shard}}}:res"


def leases(shard: str) -> str:
    """Sorted set: request id of each open reservation, scored by the ms when its lease ends."""
    return f"{{s{shard}}}:due"


def mark(shard: str, request_id: str) -> str:
    """String, 24 h: the state a call was settled in, when it was admitted, and what it was counted as.

    `state admitted_ms`, and where a later record may correct it ` credit|counters|dimensions`.
    """
    return f"{{s{shard}}}:mark:{request_id}"


def grant_mark(shard: str, grant_id: str) -> str:
    """String, 24 h: the nano-dollars of one grant of credit."""
    return f"{{s{shard}}}:grant:{grant_id}"


def ledger(shard: str) -> str:
    """Stream of settled records; the sweeper trims it to `ledger.retention_days`.

    `t`: "event" or "correction"; `r`: the record, JSON; `was`: the mark of what a correction replaces.
    """
    return f"{{s{shard}}}:ledger"


class AccountNames(NamedTuple):
    """The keys that each call of a virtual key touches; `marks` is what the marks of its calls begin with."""

    record: str
    limits: str
    account: str
    reservations: str
    leases: str
    marks: str
    ledger: str


def of_account(key_id: str) -> AccountNames:
    """The keys of the calls of this virtual key."""
    shard = key_id[:2]
    return AccountNames(
        record=key_record(key_id),
        limits=key_limits(key_id),
        account=key_account(key_id),
        reservations=reservations(shard),
        leases=leases(shard),
        marks=mark(shard, ""),
        ledger=ledger(shard),
    )


def usage_of_day(shard: str, day: str) -> str:
    """Hash of usage counters of a UTC day, `yyyymmdd`; kept for ever.

    A field is key, alias, model, upstream, release, team and metric, joined by U+001F.
    """
    return f"{{s{shard}}}:use:d:{day}"


def usage_of_hour(shard: str, hour: str) -> str:
    """Hash of usage counters of a UTC hour, `yyyymmddhh`, fields as of a day; expires after 400 days."""
    return f"{{s{shard}}}:use:h:{hour}"


def repair(shard: str) -> str:
    """String: token of the audit that sets the usage counters of the shard right now; expires after 10 s."""
    return f"{{s{shard}}}:repair"


PROCESSES = "processes"
"""Sorted set: every worker of every replica, scored by the ms until when it counts as living."""


def cache_entry(cache_key: str) -> str:
    """String: an answer of the response cache (`gateway/cache/entry.py`); expires as its alias says."""
    return f"cache:{{{cache_key}}}:entry"


def cache_flight(cache_key: str) -> str:
    """Hash `{id, frames, bytes, cut}`: the call that is on its way for all who ask the same.

    `frames`, `bytes`: how many it has, how large those are that are kept; `cut`: the first ones are not.
    Expires with its leader's lease.
    """
    return f"cache:{{{cache_key}}}:flight"


def cache_frames(cache_key: str, flight: str) -> str:
    """Stream: what a flight has brought; the frame at position n is the field `f` of entry `<n + 1>-0`.

    `end` stands behind the last one. Expires 15 s after the flight.
    """
    return f"cache:{{{cache_key}}}:frames:{flight}"


def cache_followed(cache_key: str) -> str:
    """String: the flight that another process has read of in the last 0.6 s."""
    return f"cache:{{{cache_key}}}:followed"


CACHE_GENERATION = "{cache}:generation"
"""String: generation of the whole response cache. Expires after 400 days, as those below."""


def cache_generation_of_alias(alias: str) -> str:
    """String: generation of the answers of an alias, or of raw model ids where it is ""."""
    return f"{CACHE_GENERATION}:alias:{alias}"


def cache_generation_of_scope(scope: str) -> str:
    """String: generation of the answers of a scope, a virtual key's or a team's."""
    return f"{CACHE_GENERATION}:scope:{scope}"
