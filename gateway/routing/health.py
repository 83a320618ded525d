"""What routing knows of upstreams: what rests, what cools down, whose turn it is, how much is in flight.

    breaker      (upstream, credential)         connect, timeout, server_error, bad_response, broken streams
    credential   (upstream, credential)         refused, or out of money: set aside
    model        (upstream, model)              model_not_found: gone, which says nothing of its upstream
    cooldown     (upstream, credential, model)  429: until the time that the upstream named

All of it is of one process. `report` and `advise` let processes tell each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec

from gateway.domain.errors import AttemptFailed, FailureClass, Hint
from gateway.routing.circuit import Circuit, Rule, State

BREAKER = Rule(in_a_row=5, rest_s=5.0, share=0.5)
CREDENTIAL = Rule(in_a_row=1, rest_s=60.0)
MODEL = Rule(in_a_row=1, rest_s=60.0)
COOLDOWN_S = 1.0
"""How long a target cools down after a 429 that names no time."""
MOST_COOLDOWN_S = 60.0

_OF_THE_UPSTREAM = frozenset(
    {
        FailureClass.CONNECT,
        FailureClass.TIMEOUT,
        FailureClass.SERVER_ERROR,
        FailureClass.BAD_RESPONSE,
    }
)

Kind = Literal["breaker", "credential", "model"]
OnChange = Callable[[Kind, str, Hashable, State], None]
"""Kind, upstream, credential (from 0) or model, and its new state."""
Subject = TypeVar("Subject", bound=Hashable)


class UpstreamReport(msgspec.Struct):
    """What one process says of one upstream; unknown fields are passed over.

    Args:
        set_aside: credentials that the upstream refused.
        open: credentials whose breaker is open.
        gone: models that the upstream does not have.
    """

    in_flight: int = 0
    set_aside: list[int] = []
    open: list[int] = []
    gone: list[str] = []


@dataclass(slots=True)  # whose fields are set several times as fast as a Struct's, for each call
class Load:
    """What an upstream has to do for this process: calls that are not over, and all there ever were."""

    in_flight: int = 0
    turn: int = 0


class Health:
    """The health of one process's upstreams. Times are readings of a monotonic clock, in seconds."""

    def __init__(self, on_change: OnChange = lambda *_: None) -> None:
        self.troubles: set[tuple[Kind, str, Hashable]] = set()
        """What failed of late or rests. While it is empty there is nothing to ask or tell, which is nearly
        always, and on every call's way."""
        self._breakers: _Circuits[int] = _Circuits("breaker", BREAKER, on_change, self.troubles)
        self._credentials: _Circuits[int] = _Circuits("credential", CREDENTIAL, on_change, self.troubles)
        self._models: _Circuits[str] = _Circuits("model", MODEL, on_change, self.troubles)
        self.cooling: dict[tuple[str, int, str], float] = {}
        """Until when targets that were rate limited are not asked. It is empty nearly always, too."""
        self.ours: frozenset[str] = frozenset()
        """Upstreams behind a process of this gateway. That it is away for a moment costs a call next to
        nothing to find out, and no rest: it may be back with the next call."""
        self.loads: defaultdict[str, Load] = defaultdict(Load)

    def begin(self, upstream: str, credential: int, model: str, most: int, now: float) -> None:
        """A call of this upstream begins.

        Raises:
            AttemptFailed: `most` are in flight already, and it does not begin.
        """
        load = self.loads[upstream]
        if load.in_flight >= most:
            reason = "The upstream has all the calls in flight it may have."
            raise AttemptFailed(FailureClass.RATE_LIMITED, reason, hint=Hint.FULL)
        load.in_flight += 1
        load.turn += 1
        if self.troubles:
            self._breakers.began(upstream, credential, now)
            self._credentials.began(upstream, credential, now)
            self._models.began(upstream, model, now)

    def ended(self, upstream: str) -> None:
        """A call of this upstream is over."""
        self.loads[upstream].in_flight -= 1

    def committed(self, upstream: str, credential: int, model: str, now: float) -> None:
        """The upstream serves; a stream may still break, which the breaker of one that works waits for."""
        if self.troubles:
            self._breakers.recovered(upstream, credential, now)
            self._credentials.succeeded(upstream, credential, now)
            self._models.succeeded(upstream, model, now)

    def succeeded(self, upstream: str, credential: int, model: str, now: float) -> None:
        """The upstream has served to the end."""
        if self.troubles:
            self._breakers.succeeded(upstream, credential, now)
            self._credentials.succeeded(upstream, credential, now)
            self._models.succeeded(upstream, model, now)

    def failed(self, upstream: str, credential: int, model: str, failure: AttemptFailed, now: float) -> None:
        """An attempt failed; each class says something of another thing."""
        kind = failure.failure
        if kind is FailureClass.CREDENTIAL:
            self._credentials.failed(upstream, credential, now)
        elif kind is FailureClass.MODEL_NOT_FOUND:
            self._models.failed(upstream, model, now)
        elif kind is FailureClass.RATE_LIMITED and failure.cools_down:
            wait_s = min(failure.retry_after_s or COOLDOWN_S, MOST_COOLDOWN_S)
            self.cooling[upstream, credential, model] = now + wait_s
        if kind is FailureClass.CONNECT and upstream in self.ours:
            self._breakers.gave_up(upstream, credential)
        elif kind in _OF_THE_UPSTREAM:
            self._breakers.failed(upstream, credential, now)
        elif self.troubles:  # it answered, so it is there
            self._breakers.succeeded(upstream, credential, now)
        self._credentials.gave_up(upstream, credential)
        self._models.gave_up(upstream, model)

    def broke(self, upstream: str, credential: int, now: float) -> None:
        """A stream of this upstream failed after its commit point."""
        self._breakers.failed(upstream, credential, now)

    def gave_up(self, upstream: str, credential: int, model: str) -> None:
        """An attempt was given up: nothing is known of it."""
        if self.troubles:
            self._breakers.gave_up(upstream, credential)
            self._credentials.gave_up(upstream, credential)
            self._models.gave_up(upstream, model)

    @property
    def is_well(self) -> bool:
        """True where nothing rests, nothing failed of late and nothing was rate limited."""
        return not self.troubles and not self.cooling

    def is_set_aside(self, upstream: str, credential: int, now: float) -> bool:
        """True while the credential rests."""
        return not self._credentials.may_pass(upstream, credential, now)

    def is_open(self, upstream: str, credential: int, now: float) -> bool:
        """True while the breaker lets nothing pass."""
        return not self._breakers.may_pass(upstream, credential, now)

    def is_gone(self, upstream: str, model: str, now: float) -> bool:
        """True while the upstream is taken not to have the model."""
        return not self._models.may_pass(upstream, model, now)

    def rests_s(self, upstream: str, credential: int, now: float) -> float:
        """Seconds until the breaker lets a probe pass."""
        return self._breakers.rests_s(upstream, credential, now)

    def cooling_until(self, upstream: str, credential: int, model: str, now: float) -> float:
        """When a target that was rate limited may be asked again; 0 where it may be now."""
        if not self.cooling:
            return 0.0
        until = self.cooling.get((upstream, credential, model), 0.0)
        if until and until <= now:
            del self.cooling[upstream, credential, model]
            return 0.0
        return until

    def turn(self, upstream: str) -> int:
        """Counts the calls of an upstream, so that its credentials are used in turn."""
        return self.loads[upstream].turn

    def in_flight(self, upstream: str) -> int:
        """Calls of an upstream that are not over, of this process."""
        return self.loads[upstream].in_flight

    def report(self, upstreams: Sequence[str], now: float) -> dict[str, dict[str, Any]]:
        """What this process has itself seen of each upstream: an `UpstreamReport` as plain values."""
        reports = {name: UpstreamReport(self.in_flight(name)) for name in upstreams}
        for circuits, field in self._fields():
            for upstream, subject in circuits.seen(now):
                if upstream in reports:
                    getattr(reports[upstream], field).append(subject)
        return {name: msgspec.to_builtins(report) for name, report in reports.items()}

    def advise(self, reports: Mapping[str, UpstreamReport], now: float) -> None:
        """What other processes have seen: refused credentials and missing models rest here too.

        A breaker opens only for what is seen here, since the fault may lie between another process and its
        upstream; but then one failure is enough.
        """
        for upstream, report in reports.items():
            for credential in report.set_aside:
                self._credentials.advise(upstream, credential, now)
            for model in report.gone:
                self._models.advise(upstream, model, now)
            for credential in report.open:
                self._breakers.suspect(upstream, credential)

    def assume(self, reports: Mapping[str, UpstreamReport], now: float) -> None:
        """Take reports for one's own: for whoever makes no calls and explains what others would do."""
        for upstream, report in reports.items():
            for circuits, field in self._fields():
                for subject in getattr(report, field):
                    circuits.advise(upstream, subject, now)

    def _fields(self) -> Iterator[tuple[_Circuits[Any], str]]:
        yield self._credentials, "set_aside"
        yield self._breakers, "open"
        yield self._models, "gone"


class _Circuits(Generic[Subject]):
    """Circuits of one kind. Only those are known that failed of late, so that health costs nothing."""

    def __init__(
        self, kind: Kind, rule: Rule, on_change: OnChange, troubles: set[tuple[Kind, str, Hashable]]
    ) -> None:
        self.known: dict[tuple[str, Subject], Circuit] = {}
        self._troubles = troubles
        self._kind = kind
        self._rule = rule
        self._on_change = on_change

    def _of(self, upstream: str, subject: Subject) -> Circuit:
        self._troubles.add((self._kind, upstream, subject))
        return self.known.setdefault((upstream, subject), Circuit())

    def may_pass(self, upstream: str, subject: Subject, now: float) -> bool:
        circuit = self.known.get((upstream, subject))
        return circuit is None or circuit.may_pass(now)

    def rests_s(self, upstream: str, subject: Subject, now: float) -> float:
        circuit = self.known.get((upstream, subject))
        return 0.0 if circuit is None else circuit.rests_s(now)

    def began(self, upstream: str, subject: Subject, now: float) -> None:
        circuit = self.known.get((upstream, subject))
        if circuit is not None:
            circuit.began(self._rule, now)

    def gave_up(self, upstream: str, subject: Subject) -> None:
        circuit = self.known.get((upstream, subject))
        if circuit is not None:
            circuit.gave_up()

    def succeeded(self, upstream: str, subject: Subject, now: float) -> None:
        circuit = self.known.get((upstream, subject))
        if circuit is None:
            return
        if circuit.succeeded(self._rule, now):
            self._on_change(self._kind, upstream, subject, "closed")
        if self._rule.share is None or circuit.is_forgettable(now):
            del self.known[upstream, subject]
            self._troubles.discard((self._kind, upstream, subject))

    def recovered(self, upstream: str, subject: Subject, now: float) -> None:
        circuit = self.known.get((upstream, subject))
        if circuit is not None and circuit.state(now) != "closed":
            self.succeeded(upstream, subject, now)

    def failed(self, upstream: str, subject: Subject, now: float) -> None:
        circuit = self._of(upstream, subject)
        was = circuit.state(now)
        if circuit.failed(self._rule, now) and was == "closed":
            self._on_change(self._kind, upstream, subject, "open")

    def advise(self, upstream: str, subject: Subject, now: float) -> None:
        circuit = self._of(upstream, subject)
        if circuit.state(now) == "closed":
            circuit.trip(now + self._rule.rest_s, advised=True)

    def suspect(self, upstream: str, subject: Subject) -> None:
        self._of(upstream, subject).suspect(self._rule)

    def seen(self, now: float) -> Iterator[tuple[str, Subject]]:
        """Those that this process has itself seen fail, and that are not closed."""
        for key, circuit in self.known.items():
            if not circuit.is_advised and circuit.state(now) != "closed":
                yield key
