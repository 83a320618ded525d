"""Eight processes and one key, round after round: what they are admitted together is exact.

In a round each process fires its calls at once, more of them in all than the key may make. With a limit of k
calls at once, or money for k calls, exactly k are admitted; of k a minute, k and what has come back meanwhile
by the server's clock. A call that is admitted beyond that is overshoot, one that is refused although there
was room is a phantom.
"""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.limits.values import MAX_NANOUSD, Admission, Bounds, Budget
from gateway.store import keys
from tests.integration.accounts.made import KEY, SHARD, admission
from tests.support.valkey import ValkeyServer

ROOT = Path(__file__).parents[3]
PROCESSES = 8
MOST = {"concurrency": 60, "budget": 60, "rpm": 1200}
"""The largest k."""

WAVES = {"concurrency": 1, "budget": 1, "rpm": 3}
"""How often the processes fire in a round: of a minute, some comes back between them."""

Fates = list[tuple[bool, int]]


@dataclass
class Found:
    """What the rounds came to; the last three are to be 0."""

    rounds: int = 0
    calls: int = 0
    admitted: int = 0
    overshoot: int = 0
    phantoms: int = 0
    left_open: int = 0

    def as_figures(self) -> dict[str, int]:
        return asdict(self)


class Party:
    """The processes."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def order(self, **order: Any) -> list[Any]:
        """Tell all of them first, then hear all of them."""
        for each in self._processes:
            assert each.stdin is not None
            each.stdin.write(json.dumps(order) + "\n")
            each.stdin.flush()
        return [_answer(each) for each in self._processes]

    def fire(self, asked: Admission, calls: int) -> Fates:
        """So many calls from each process."""
        told = self.order(admission=msgspec.to_builtins(asked), calls=calls)
        return [tuple(fate) for fates in told for fate in fates]


@contextmanager
def party(server: ValkeyServer) -> Iterator[Party]:
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(  # noqa: S603  # our own arguments
                    [sys.executable, "-m", "tests.integration.accounts.child", server.url, f"p{number}"],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(PROCESSES)
        ]
        for each in processes:
            stack.callback(each.kill)
        for each in processes:
            assert _answer(each) == "ready"
        yield Party(processes)


def _answer(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()  # ends where the child does, and the whole test has a deadline
    assert line, "a child has ended"
    return json.loads(line)


def race(server: ValkeyServer, rounds: int, seed: int = 1) -> Found:
    """Run the rounds, each with all three bounds."""
    draw, found = random.Random(seed), Found()  # noqa: S311  # no secret
    with party(server) as processes:
        for number in range(rounds):
            found.rounds += 1
            for kind in WAVES:
                server.run("DEL", keys.key_limits(KEY), keys.key_account(KEY))
                server.run("HSET", keys.key_record(KEY), "rev", 1)
                _round(processes, found, draw, kind, f"{kind}{number}")
                found.left_open += server.run("HLEN", keys.reservations(SHARD))
                found.left_open += int(server.run("HGET", keys.key_limits(KEY), "open"))
                found.left_open += int(server.run("HGET", keys.key_account(KEY), "held") or 0)
    return found


def _round(processes: Party, found: Found, draw: random.Random, kind: str, name: str) -> None:
    k = draw.randint(1, MOST[kind])
    given: dict[str, Any] = {"bounds": Bounds(**{kind: k} if kind != "budget" else {})}
    cost = 0
    if kind == "budget":
        cost = draw.randint(1, MAX_NANOUSD // k // 2)
        # not enough for one more, perhaps by one nano-dollar only
        limit = k * cost + draw.choice([0, cost // 2, cost - 1])
        given |= {"bound_nanousd": cost, "budget": Budget(limit, "total")}
    fates: Fates = []
    for wave in range(WAVES[kind]):
        calls = draw.randint(2, 20) + (0 if wave else k // PROCESSES)
        fates += processes.fire(admission(f"{name}-{wave}", **given), calls)
    found.calls += len(fates)
    found.admitted += sum(is_admitted for is_admitted, _ in fates)
    overshoot, phantoms = judge(fates, k, per_minute=kind == "rpm")
    found.overshoot += overshoot
    found.phantoms += phantoms
    settled = [result for results in processes.order(cost=cost) for result in results]
    assert set(settled) <= {"stored"}


def judge(fates: Fates, k: int, *, per_minute: bool) -> tuple[int, int]:
    """How many calls were admitted beyond the limit, and how many were refused although there was room.

    The order within one ms is not known, so each is judged in the caller's favour.
    """
    overshoot = phantoms = 0
    times = sorted(at_ms for is_admitted, at_ms in fates if is_admitted)
    for number, at_ms in enumerate(times, start=1):
        back = (at_ms - times[0]) * k // 60_000 if per_minute else 0
        overshoot += number > k + back
    for is_admitted, at_ms in fates:
        if not is_admitted:
            phantoms += sum(time <= at_ms for time in times) < k
    return overshoot, phantoms
