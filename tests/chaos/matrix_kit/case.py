"""What a case is: a scene that is set and played, and what everybody must have seen of it then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tests.chaos.matrix_kit.client import Seen

if TYPE_CHECKING:
    from tests.chaos.matrix_kit.stage import Scene

Play = Callable[["Scene"], Awaitable[Seen]]
State = Literal["exact", "estimated", "released", "orphaned"]


# -- what the client sees


@dataclass(frozen=True)
class Refused:
    """An HTTP error in the official shape; `headers` must be there with these values, None = any value."""

    status: int
    code: str | None
    headers: Mapping[str, str | None] = field(default_factory=dict)

    def __str__(self) -> str:
        extra = "".join(f", {n}{f': {v}' if v else ''}" for n, v in self.headers.items())
        return f"{self.status} `{self.code}`{extra}" if self.code else f"{self.status}{extra}"

    def check(self, seen: Seen) -> None:
        assert seen.status == self.status, (seen.status, seen.body[:300])
        error = seen.error
        assert error is not None, seen.body[:300]
        assert error["code"] == self.code, error
        assert seen.is_whole
        assert seen.headers["x-request-id"].startswith("req_")
        for name, value in self.headers.items():
            assert name in seen.headers, f"no {name}"
            assert value is None or seen.headers[name] == value, (name, seen.headers[name])

    @property
    def request(self) -> tuple[str, str]:
        return str(self.status), self.code or "invalid_request_error"


@dataclass(frozen=True)
class Answered:
    """A whole answer, JSON or stream: its text, then `[DONE]` where it is a stream.

    `body`, where given, is every byte of it.
    """

    text: str = "Hello"
    body: bytes | None = None

    def __str__(self) -> str:
        return f"200, {_quoted(self.text)}, whole"

    def check(self, seen: Seen) -> None:
        assert seen.status == 200, (seen.status, seen.body[:300])
        assert seen.is_whole
        assert seen.text == self.text, seen.text[:300]
        assert seen.error is None, seen.error
        if seen.is_stream:
            assert seen.has_done, seen.body[-200:]
        if self.body is not None:
            assert seen.body == self.body, seen.body[:2000]

    @property
    def request(self) -> tuple[str, str]:
        return "200", "none"


@dataclass(frozen=True)
class Broken:
    """A stream that ends by one error event: what came before it, its code, no `[DONE]`, a proper end."""

    text: str
    code: str

    def __str__(self) -> str:
        return f"200, {_quoted(self.text)}, then error event `{self.code}`, no `[DONE]`"

    def check(self, seen: Seen) -> None:
        assert seen.status == 200, (seen.status, seen.body[:300])
        assert seen.text == self.text, seen.text[:300]
        error = seen.error
        assert error is not None, seen.body[-300:]
        assert (error["code"], error["type"]) == (self.code, "server_error")
        assert sum("error" in event for event in seen.events) == 1
        assert b"[DONE]" not in seen.body
        assert seen.is_whole

    @property
    def request(self) -> tuple[str, str]:
        return "200", self.code


@dataclass(frozen=True)
class Left:
    """Nobody was there to see the end. `text` had come, where anything had."""

    text: str = ""
    status: str = "499"
    error_type: str = "client_left"

    def __str__(self) -> str:
        return f"has left after {_quoted(self.text)}" if self.text else "has left"

    def check(self, seen: Seen) -> None:
        assert not seen.is_whole
        assert (seen.text if seen.status else "") == self.text

    @property
    def request(self) -> tuple[str, str]:
        return self.status, self.error_type


@dataclass(frozen=True)
class Cut:
    """The connection ended before the answer did, which a client can tell."""

    def __str__(self) -> str:
        return "the connection breaks"

    def check(self, seen: Seen) -> None:
        assert not seen.is_whole

    @property
    def request(self) -> None:
        return None


ClientView = Refused | Answered | Broken | Left | Cut


# -- what the books say


@dataclass(frozen=True)
class Ledger:
    """How many records of each state (None: some), and how their tokens were counted."""

    states: Mapping[State, int | None]
    source: str | None = None

    def agrees(self, found: Mapping[str, int]) -> bool:
        return set(found) == set(self.states) and all(
            count is None or found[state] == count for state, count in self.states.items()
        )

    def __str__(self) -> str:
        if not self.states:
            return "no record"
        parts = [state if count == 1 else f"{count or 'n'} x {state}" for state, count in self.states.items()]
        return ", ".join(parts) + (f" ({self.source})" if self.source else "")


def one(state: State, source: str | None = None) -> Ledger:
    return Ledger({state: 1}, source)


NO_RECORD = Ledger({})
RELEASED = one("released", "none")
EXACT = one("exact", "upstream")
COUNTED = one("estimated", "tokenizer")

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Counted:
    """A sample of `/metrics`, by how much the case moves it. `most` makes it a range."""

    name: str
    labels: Labels
    least: float
    most: float | None = None

    def __str__(self) -> str:
        labels = ", ".join(f'{name}="{value}"' for name, value in self.labels.items())
        amount = f"{self.least:g}" if self.most is None else f"{self.least:g} to {self.most:g}"
        if self.most == float("inf"):
            amount = f"at least {self.least:g}"
        return f"`{self.name}{{{labels}}}` {amount}" if labels else f"`{self.name}` {amount}"


def attempts(outcome: str, least: float, most: float | None = None) -> Counted:
    """Calls of the case's upstream that ended so."""
    return Counted("tunegate_attempts_total", {"outcome": outcome}, least, most)


@dataclass(frozen=True)
class Setting:
    """The gateway that a case plays on. Cases with equal settings share one.

    Args:
        server: of its configuration.
        own_store: a server of ours behind a proxy, instead of the embedded one.
        alone: no other case is played on it.
    """

    name: str
    server: Mapping[str, Any] = field(default_factory=dict)
    own_store: bool = False
    alone: bool = False

    def __hash__(self) -> int:
        return hash(self.name)


SHARED = Setting("shared")


@dataclass(frozen=True)
class Case:
    """One row of the matrix.

    Args:
        given: what is wrong, for a reader.
        metrics: besides the one of the request itself, which always counts.
        within_s: what `Seen.took_s` may be at most.
        upstream: of the configuration of the case's upstream. `base_url` may hold `{port}`.
        spare: another upstream stands behind the first one.
        tls: how its certificate is: "good", "expired", "wrong name", "self-signed".
        key: fields of its virtual key, which has no limits otherwise.
        model: what is asked of the upstream, where its id matters.
        settled_within_s: how soon the ledger is complete.
        requests: how often each (status, error_type) is counted; by default once, as the client saw it.
        quick: also one of the fast tests.
    """

    name: str
    given: str
    client: ClientView
    metrics: tuple[Counted, ...]
    ledger: Ledger
    within_s: float
    play: Play
    upstream: Mapping[str, Any] = field(default_factory=dict)
    alias: Mapping[str, Any] = field(default_factory=dict)
    spare: bool = False
    tls: str | None = None
    key: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    requests: Mapping[tuple[str, str], int] | None = None
    setting: Setting = SHARED
    settled_within_s: float = 20.0
    quick: bool = False

    @property
    def slug(self) -> str:
        """Its name as that of an alias."""
        letters = (letter if letter.isalnum() else " " for letter in self.name.lower())
        return "-".join("".join(letters).split())

    @property
    def expected_requests(self) -> Mapping[tuple[str, str], int]:
        if self.requests is not None:
            return self.requests
        request = self.client.request
        return {} if request is None else {request: 1}


def case(name: str, **facts: Any) -> Callable[[Play], Case]:
    """Make a case of the function that plays it."""

    def make(play: Play) -> Case:
        return Case(name=name, play=play, **facts)

    return make


def _quoted(text: str) -> str:
    return f'"{text}"' if len(text) <= 30 else f"{len(text):,} characters"
