"""The cases, by family: what goes wrong, what is done, what everybody must see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType

from tests.chaos.matrix_cases import (
    answers,
    clients,
    connecting,
    outage,
    processes,
    refusals,
    store,
    streams,
)
from tests.chaos.matrix_kit.case import Case


def _of(module: ModuleType) -> list[Case]:
    """The cases of a module, in its order."""
    return [value for value in vars(module).values() if isinstance(value, Case)]


FAMILIES: Mapping[str, Sequence[Case]] = {
    "Connecting": _of(connecting),
    "Refusals of an upstream": _of(refusals),
    "Answers that are none": _of(answers),
    "Streams": _of(streams),
    "Clients": _of(clients),
    "The store": _of(store),
    "The gateway itself": _of(processes),
    "An outage": _of(outage),
}
CASES = [case for cases in FAMILIES.values() for case in cases]
assert len({case.slug for case in CASES}) == len(CASES)
