"""The two calls of scripts that every request makes, packed but for what varies from call to call.

A form is made once for what many calls have in common, and kept with that. Pure: nothing is sent here.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.limits.values import MAX_NANOUSD, UNLIMITED, Bounds, Budget, State
from gateway.store import keys
from gateway.store.greeting import pack
from gateway.store.scripts import Script

_OF_AN_ADMISSION, _OF_A_SETTLEMENT = 3, 6
"""How many arguments vary from call to call; they come first, in the order of the scripts' heads."""

_IN_A_TAIL = 5  # arguments of a settlement behind them

_LONG = len("[9000000000000000,0,0,0,0,0,0,0,0,0]")  # in shorter ones no counter is above `MAX_NANOUSD`

_encode = msgspec.json.Encoder().encode


class AdmissionForm:
    """Calls of `admit.lua` by one key that ask on the same terms; arguments as in `Admission`.

    Attributes:
        key: the first key, which says where a cluster has them all.
    """

    __slots__ = ("_head", "_marks", "_needs_bound", "_tail", "key")

    def __init__(
        self,
        script: Script,
        *,
        key_id: str,
        revision: int,
        process: str,
        bounds: Bounds,
        budget: Budget | None,
        has_credit: bool,
        basis: bytes,
    ) -> None:
        names = keys.of_account(key_id)
        self.key = names.record
        self._needs_bound = budget is not None or has_credit
        tail = (
            basis,
            revision,
            process,
            key_id,
            _limit(bounds.rpm),
            _limit(bounds.tpm),
            _limit(bounds.concurrency),
            "" if budget is None else budget.period,
            "" if budget is None else budget.limit_nanousd,
            int(has_credit),
        )
        of_all = (names.record, names.limits, names.account, names.reservations, names.leases)
        self._head = _head(script, of_all, _OF_AN_ADMISSION + len(tail))
        self._marks = names.marks.encode()  # the mark is the last key, so the call goes on with it
        self._tail = _uncounted(pack(tail))

    def packed(self, request_id: str, tokens: int, bound_nanousd: int | None) -> bytes:
        """The call as it is sent. Raises `ValueError` where money must be held and no bound is known."""
        name = request_id.encode()
        taken = b"%d" % (tokens if 0 <= tokens <= UNLIMITED else _within(tokens, UNLIMITED))
        if bound_nanousd is not None:
            bound = b"%d" % min(bound_nanousd, MAX_NANOUSD)
        elif self._needs_bound:
            raise ValueError("a call that is paid from a budget or credit needs a bound of its cost")
        else:
            bound = b"-"
        marks = self._marks
        return b"%b$%d\r\n%b%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n%b" % (
            self._head,
            len(marks) + len(name),
            marks,
            name,
            len(name),
            name,
            len(taken),
            taken,
            len(bound),
            bound,
            self._tail,
        )


class SettlementForm:
    """Calls of `settle.lua` for calls of one key that were admitted on the same terms; as in `Settlement`.

    Attributes:
        key: the first key, which says where a cluster has them all.
    """

    __slots__ = ("_has_credit", "_head", "_marks", "_tails", "_tpm", "key")

    def __init__(self, script: Script, *, key_id: str, tpm: int | None, has_credit: bool) -> None:
        names = keys.of_account(key_id)
        self.key = names.limits
        self._tpm = tpm
        self._has_credit = int(has_credit)
        self._tails: dict[tuple[State, bool, bool], bytes] = {}
        of_all = (names.limits, names.account, names.reservations, names.leases, names.ledger)
        self._head = _head(script, of_all, _OF_A_SETTLEMENT + _IN_A_TAIL)
        self._marks = names.marks.encode()

    def packed(
        self,
        request_id: str,
        record: bytes,
        admitted_ms: int,
        tokens: int,
        counts: tuple[int, ...],
        dimensions: bytes,
        state: State,
        was_reserved: bool = True,
        only_if_reserved: bool = False,
    ) -> bytes:
        """The call as it is sent.

        Args:
            tokens: what it took of the tokens a minute.
            counts: the counters, in their order.
            dimensions: joined.
        """
        try:
            tail = self._tails[state, was_reserved, only_if_reserved]
        except KeyError:
            tail = self._tail(state, was_reserved, only_if_reserved)
        name = request_id.encode()
        at = b"%d" % admitted_ms
        took = b"%d" % (tokens if 0 <= tokens <= UNLIMITED else _within(tokens, UNLIMITED))
        added = _encode(counts)  # a third of the time of %d
        if len(added) >= _LONG or added.find(b"-") >= 0:
            added = _encode(addable(counts))
        added = added[1:-1].replace(b",", b" ")
        marks = self._marks
        return (
            b"%b$%d\r\n%b%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n%b"
            % (
                self._head,
                len(marks) + len(name),
                marks,
                name,
                len(name),
                name,
                len(record),
                record,
                len(at),
                at,
                len(took),
                took,
                len(added),
                added,
                len(dimensions),
                dimensions,
                tail,
            )
        )

    def _tail(self, state: State, was_reserved: bool, only_if_reserved: bool) -> bytes:
        kind = (state, was_reserved, only_if_reserved)
        arguments = (state, _limit(self._tpm), self._has_credit, int(was_reserved), int(only_if_reserved))
        tail = self._tails[kind] = _uncounted(pack(arguments))
        return tail


def addable(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Counts that a script can add: an upstream may report anything, and half a settlement must not fail."""
    return tuple(_within(count, MAX_NANOUSD) for count in counts)


def _within(count: int, most: int) -> int:
    return min(max(0, count), most)


def _head(script: Script, names: Sequence[str], arguments: int) -> bytes:
    """A call up to its last key but one: the mark comes behind, then so many arguments."""
    in_all = len(names) + 1
    head = pack(("EVALSHA", script.sha, in_all, *names))
    return b"*%d\r\n%b" % (3 + in_all + arguments, _uncounted(head))


def _uncounted(packed: bytes) -> bytes:
    """A packed command without the line that counts its parts."""
    return packed[packed.index(b"\n") + 1 :]


def _limit(limit: int | None) -> int | str:
    return "" if limit is None or limit >= UNLIMITED else limit
