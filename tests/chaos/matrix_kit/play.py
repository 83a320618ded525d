"""Plays cases and judges them: what the client saw, what was counted, what the ledger says, how long."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx2

from tests.chaos.matrix_kit.case import Case, Counted, Setting
from tests.chaos.matrix_kit.client import Seen
from tests.chaos.matrix_kit.stage import Scene, Stage, stage_for

COUNTED_WITHIN_S = 6.0
"""Workers report their figures each second."""

CASE_WITHIN_S = 180.0
Samples = Sequence[tuple[str, Mapping[str, str], float]]


@dataclass
class Result:
    """How a case went; without `failures` it holds. `samples` are those that the case itself took."""

    case: Case
    took_s: float = 0.0
    saw: str = ""
    counted: list[str] = field(default_factory=list)
    ledger: str = ""
    samples: Samples | None = None
    failures: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.failures


async def play_all(
    cases: Sequence[Case], tell: Callable[[Case], None] = lambda _: None
) -> AsyncIterator[Result]:
    """Play them, those of one setting on one gateway."""
    for setting, together in _settings(cases):
        async with stage_for(setting, together) as stage:
            async for result in play_on(stage, together, tell):
                yield result


async def play_on(
    stage: Stage, cases: Sequence[Case], tell: Callable[[Case], None] = lambda _: None
) -> AsyncIterator[Result]:
    """Play them on a stage that was made for them; their figures are looked at when all are over."""
    before = await stage.samples()
    results = []
    for case in cases:
        tell(case)
        results.append(await _play(stage, case))
    deadline = time.monotonic() + COUNTED_WITHIN_S
    while True:
        try:
            now = await stage.samples()
        except httpx2.TransportError:  # a case that ends the gateway
            now = []
        missing = [
            _check_counted(result.case, before, now)[1] for result in results if result.samples is None
        ]
        if not any(missing) or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    for result in results:
        samples = now if result.samples is None else result.samples
        result.counted, failures = _check_counted(result.case, before, samples)
        result.failures += failures
        yield result


async def _play(stage: Stage, case: Case) -> Result:
    result = Result(case)
    try:
        scene = await stage.scene(case)
        async with asyncio.timeout(CASE_WITHIN_S):
            seen = await case.play(scene)
    except Exception as error:  # noqa: BLE001  # whatever went wrong, the other cases are played
        result.failures.append(_why(error))
        return result
    result.samples = scene.samples
    result.took_s = seen.took_s
    result.saw = described(seen)
    try:
        case.client.check(seen)
    except Exception as error:  # noqa: BLE001  # as above; an answer may be unreadable in any way
        result.failures.append(_why(error))
    if seen.took_s > case.within_s:
        result.failures.append(f"took {seen.took_s:.2f} s, not within {case.within_s:g} s")
    await _check_ledger(stage, scene, result)
    return result


async def _check_ledger(stage: Stage, scene: Scene, result: Result) -> None:
    """The states, and that nothing is held any more."""
    expected = scene.case.ledger
    deadline = time.monotonic() + scene.case.settled_within_s
    while True:
        states, held = await stage.states(scene.key_id), await stage.held(scene.key_id)
        if (expected.agrees(states) and not held) or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.02)
    records = await stage.records(scene.key_id)
    sources = {str(record.usage_source) for record in records}
    result.ledger = ", ".join(f"{count} x {state}" for state, count in states.items()) or "no record"
    if not expected.agrees(states):
        result.failures.append(f"ledger: {result.ledger}; expected {expected}")
    if held:
        result.failures.append("something is still held")
    if expected.source is not None and sources != {expected.source}:
        result.failures.append(f"usage_source {sources}; expected {expected.source}")


def _check_counted(case: Case, before: Samples, now: Samples) -> tuple[list[str], list[str]]:
    """What was counted, and what is wrong with it."""
    found, failures = [], []
    for expected in [*case.metrics, *_requests(case)]:
        amount = _amount(expected, case, now) - _amount(expected, case, before)
        most = expected.least if expected.most is None else expected.most
        found.append(str(Counted(expected.name, expected.labels, amount)))
        if not expected.least <= amount <= most:
            failures.append(f"counted {amount:g}; expected {expected}")
    return found, failures


def _requests(case: Case) -> list[Counted]:
    return [
        Counted("tunegate_requests_total", {"status": status, "error_type": error_type}, count)
        for (status, error_type), count in case.expected_requests.items()
    ]


def _amount(counted: Counted, case: Case, samples: Samples) -> float:
    labels = dict(counted.labels)
    if counted.name in ("tunegate_attempts_total", "tunegate_breaker_state"):
        labels.setdefault("upstream", case.slug)
    if counted.name in ("tunegate_requests_total", "tunegate_fallbacks_total"):
        labels.setdefault("alias", case.slug)
    if labels.get("alias") == "*":  # refused before its alias was known
        del labels["alias"]
    return sum(
        value for name, has, value in samples if name == counted.name and labels.items() <= has.items()
    )


def described(seen: Seen) -> str:
    """For the table."""
    if seen.status is None:
        return "no answer"
    try:
        error, text = seen.error, seen.text if seen.status == 200 else ""
    except Exception:  # noqa: BLE001  # what cannot be read is shown as it is
        return f"{seen.status}, {len(seen.body)} bytes"
    words = [str(seen.status)]
    if text:
        words.append(f'"{text}"' if len(text) <= 30 else f"{len(text):,} characters")
    if error is not None:
        words.append(str(error["code"]))
    if not seen.is_whole:
        words.append("cut")
    return ", ".join(words)


def _why(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {place.name}:{place.lineno}: {error or place.line}"[:600]


def _settings(cases: Sequence[Case]) -> list[tuple[Setting, list[Case]]]:
    shared: defaultdict[Setting, list[Case]] = defaultdict(list)
    found: list[tuple[Setting, list[Case]]] = []
    for case in cases:
        if case.setting.alone:
            found.append((case.setting, [case]))
        else:
            shared[case.setting].append(case)
    return [*shared.items(), *found]
