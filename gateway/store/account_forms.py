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

_OF_AN_ADMISSION, _OF_A_SETTLEMENT = 1, 2
"""How many arguments vary from call to call; they come first, in the order of the scripts' heads."""

_IN_A_TAIL = 6  # arguments of a settlement from its dimensions on

_encode = msgspec.json.Encoder().encode  # of all figures at once: it takes little longer than for one


def _before(size: int) -> bytes:
    """What comes before an argument of so many bytes: the end of the one before it, and its size."""
    return b"\r\n$%d\r\n" % size


_USUAL = 2048
"""More bytes than nearly all records have; all other arguments that vary are shorter."""

_BEFORE = [_before(size) for size in range(_USUAL)]


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
        self._tail = _end(pack(tail))

    def packed(self, request_id: str, tokens: int, bound_nanousd: int | None) -> bytes:
        """The call as it is sent. Raises `ValueError` where money must be held and no bound is known."""
        asked = tokens if 0 <= tokens <= UNLIMITED else _within(tokens, UNLIMITED)
        if bound_nanousd is not None:
            bound_nanousd = min(bound_nanousd, MAX_NANOUSD)
        elif self._needs_bound:
            raise ValueError("a call that is paid from a budget or credit needs a bound of its cost")
        name, marks, figures = request_id.encode(), self._marks, _encode((asked, bound_nanousd))
        return b"".join(
            (
                self._head,
                _BEFORE[len(marks) + len(name)],
                marks,
                name,
                _BEFORE[len(figures)],
                figures,
                self._tail,
            )
        )


class SettlementForm:
    """Calls of `settle.lua` for calls of one key that were admitted on the same terms; as in `Settlement`.

    Attributes:
        key: the first key, which says where a cluster has them all.
    """

    __slots__ = ("_has_credit", "_head", "_marks", "_tpm", "key")

    def __init__(self, script: Script, *, key_id: str, tpm: int | None, has_credit: bool) -> None:
        names = keys.of_account(key_id)
        self.key = names.limits
        self._tpm = tpm
        self._has_credit = int(has_credit)
        of_all = (names.limits, names.account, names.reservations, names.leases, names.ledger)
        self._head = _head(script, of_all, _OF_A_SETTLEMENT + _IN_A_TAIL)
        self._marks = names.marks.encode()

    def tail(
        self, dimensions: str, state: State, was_reserved: bool = True, only_if_reserved: bool = False
    ) -> bytes:
        """The end of all calls with the same dimensions, joined, that end in the same way."""
        reserved = int(was_reserved), int(only_if_reserved)
        return _end(pack((dimensions, state, _limit(self._tpm), self._has_credit, *reserved)))

    def packed(self, request_id: str, record: bytes, figures: tuple[int, ...], tail: bytes) -> bytes:
        """The call as it is sent.

        Args:
            figures: when it was admitted, what it took of the tokens a minute, the counters in their order.
            tail: as `tail` has it.
        """
        name, marks, size, added = request_id.encode(), self._marks, len(record), _encode(figures)
        if sum(figures) - figures[0] > UNLIMITED or added.find(b"-") >= 0:  # one may be too much
            added = _encode(addable(figures))
        return b"".join(
            (
                self._head,
                _BEFORE[len(marks) + len(name)],
                marks,
                name,
                _BEFORE[size] if size < _USUAL else _before(size),
                record,
                _BEFORE[len(added)],
                added,
                tail,
            )
        )


def addable(figures: tuple[int, ...]) -> tuple[int, ...]:
    """Figures that a script can add: an upstream may report anything, and half a settlement must not fail."""
    admitted_ms, tokens, *counts = figures
    return max(0, admitted_ms), _within(tokens, UNLIMITED), *(_within(count, MAX_NANOUSD) for count in counts)


def _within(count: int, most: int) -> int:
    return min(max(0, count), most)


def _head(script: Script, names: Sequence[str], arguments: int) -> bytes:
    """A call up to its last key but one: the mark comes behind, then so many arguments."""
    in_all = len(names) + 1
    return b"*%d%b" % (3 + in_all + arguments, _end(pack(("EVALSHA", script.sha, in_all, *names)))[:-2])


def _end(packed: bytes) -> bytes:
    """A packed command as what comes behind other arguments: without the number of its own."""
    return packed[packed.index(b"\r\n") :]


def _limit(limit: int | None) -> int | str:
    return "" if limit is None or limit >= UNLIMITED else limit
