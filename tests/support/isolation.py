"""Does an answer of one tenant ever reach another one, and one question's another question's?

What is played is the way of a body from its bytes to its cache key; a hit is an equal key.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from gateway.cache.canonical import NotCanonical
from gateway.cache.key import Keys, Question
from gateway.cache.port import Generations
from gateway.cache.rules import is_cacheable
from gateway.cache.scope import Scope
from gateway.domain.cache import CachePolicy
from gateway.domain.call import CHAT
from gateway.domain.errors import InvalidRequest
from gateway.domain.plan import Candidate, Target
from gateway.domain.principal import Principal
from gateway.edge.request import parse_call
from tests.support.questions import a_body, changed, spelled

POLICY = CachePolicy(b"fingerprint", nondeterministic=True)
TARGET = Target("support", "support", "support@1/stable", (Candidate("openai", "m"),), cache=POLICY)
KEYS = Keys(b"secret")
_GENERATIONS = Generations(1, 2, 3)
_NAMES = ("alpha", "beta", "key:alpha", "team:alpha", "al", "pha", "")

ScopeOf = Callable[[Principal], Scope]


@dataclass
class Found:
    """What came of so many pairs: `hits` holds the first pairs that met, as the bytes that were sent."""

    pairs: int = 0
    hits: list[tuple[bytes, bytes]] = field(default_factory=list)
    controls: int = 0
    """Pairs of one tenant and one question that met, as they must."""
    missed: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Those that did not."""


def key_of(body: bytes, principal: Principal, scope_of: ScopeOf = Scope) -> str | None:
    """The cache key of a body that a principal sends; None where it is not cacheable, or no request."""
    try:
        call = parse_call(CHAT, body, 64)
        if not is_cacheable(call, TARGET, POLICY, None, pinned=False, cap=None):
            return None
        question = Question.of(scope_of(principal), call, TARGET, POLICY.fingerprint, None)
    except (InvalidRequest, NotCanonical):
        return None
    return KEYS.key(question, _GENERATIONS)


def tenants(pairs: int, seed: int, scope_of: ScopeOf = Scope) -> Found:
    """Pairs of equal questions, by two tenants who share nothing; and a control: by one and the same."""
    found = Found()
    for rng in _sources(pairs, seed):
        body = a_body(rng)
        ours, theirs = spelled(body, rng), spelled(body, rng)
        one, other = _two(rng)
        key = key_of(ours, one, scope_of)
        _note(found, key is not None and key == key_of(theirs, other, scope_of), ours, theirs)
        _control(found, key is not None and key == key_of(theirs, one, scope_of), ours, theirs)
    return found


def questions(pairs: int, seed: int) -> Found:
    """Pairs of questions of one tenant that differ in one thing; and a control: that differ in nothing."""
    found = Found()
    for rng in _sources(pairs, seed):
        body = a_body(rng)
        one, other, same = spelled(body, rng), spelled(changed(body, rng), rng), spelled(body, rng)
        key = key_of(one, _ALICE)
        _note(found, key is not None and key == key_of(other, _ALICE), one, other)
        _control(found, key is not None and key == key_of(same, _ALICE), one, same)
    return found


_ALICE = Principal("01alicealice", "alice")


def _sources(pairs: int, seed: int) -> Iterator[Random]:
    for number in range(pairs):
        yield Random(f"{seed}:{number}")  # noqa: S311  # no secret: a run can be repeated


def _two(rng: Random) -> tuple[Principal, Principal]:
    """Two tenants: never one key, and never one team where both share within their team."""
    while True:
        one, other = _tenant(rng), _tenant(rng)
        shares = one.cache_scope == other.cache_scope == "team" and one.team is not None
        if one.key_id != other.key_id and not (shares and one.team == other.team):
            return one, other


def _tenant(rng: Random) -> Principal:
    return Principal(
        key_id=rng.choice(("01aaaaaaaaaa", "01aaaaaaaaab", "02aaaaaaaaaa", *_NAMES)),
        name="tenant",
        team=rng.choice((None, *_NAMES)),
        cache_scope=rng.choice(("key", "team")),
    )


def _note(found: Found, is_hit: bool, one: bytes, other: bytes) -> None:
    found.pairs += 1
    if is_hit and len(found.hits) < 10:
        found.hits.append((one, other))


def _control(found: Found, has_met: bool, one: bytes, other: bytes) -> None:
    if has_met:
        found.controls += 1
    elif len(found.missed) < 10:
        found.missed.append((one, other))
