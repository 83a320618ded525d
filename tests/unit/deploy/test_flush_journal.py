"""The chart's preStop: wait for the journal, not for ever."""

from __future__ import annotations

import http.client
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "helm" / "tunegate" / "files" / "flush_journal.py"
HELP = "# HELP tunegate_journal_pending x\n# TYPE tunegate_journal_pending gauge\n"


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Answer:
    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self._text = text

    def read(self) -> bytes:
        return self._text.encode()


@pytest.fixture
def flush(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    """Run it against a control plane that plays these answers, the last one for ever."""

    def run(*plays: Answer | Exception, within_s: float = 30, clock: Clock | None = None) -> bool:
        left = list(plays)

        class Connection:
            def __init__(self, *_: Any, **__: Any) -> None:
                pass

            def request(self, method: str, path: str, headers: dict[str, str]) -> None:
                asked.append((method, path, headers))

            def getresponse(self) -> Answer:
                play = left.pop(0) if len(left) > 1 else left[0]
                if isinstance(play, Exception):
                    raise play
                return play

            def close(self) -> None:
                pass

        monkeypatch.setattr(http.client, "HTTPConnection", Connection)
        script = runpy.run_path(str(SCRIPT))
        script["flushed"].__globals__["time"] = clock or Clock()
        return bool(script["flushed"](within_s, 8081))

    asked: list[tuple[str, str, dict[str, str]]] = []
    run.asked = asked  # type: ignore[attr-defined]  # what was sent, for one test
    return run


def metrics(pending: str) -> Answer:
    return Answer(200, f"{HELP}tunegate_journal_pending {pending}\nother 1.0\n")


def test_nothing_pending_ends_at_once(flush: Callable[..., bool]) -> None:
    clock = Clock()
    assert flush(metrics("0.0"), clock=clock)
    assert clock.now == 0


def test_it_waits_for_what_is_pending(flush: Callable[..., bool]) -> None:
    clock = Clock()
    assert flush(metrics("3.0"), metrics("1.0"), metrics("0.0"), clock=clock)
    assert clock.now == 1


@pytest.mark.parametrize(
    "play",
    [metrics("1.0"), Answer(401, "no"), Answer(200, "empty"), ConnectionRefusedError(), TimeoutError()],
)
def test_it_gives_up_in_time(flush: Callable[..., bool], play: Answer | Exception) -> None:
    clock = Clock()
    assert not flush(play, clock=clock, within_s=5)
    assert clock.now == pytest.approx(5)


def test_a_control_process_that_comes_back_is_asked_again(flush: Callable[..., bool]) -> None:
    away = ConnectionRefusedError()
    assert flush(away, away, metrics("0.0"))


def test_it_looks_at_both_loopback_addresses(flush: Callable[..., bool]) -> None:
    clock = Clock()
    assert flush(ConnectionRefusedError(), metrics("0.0"), clock=clock)
    assert clock.now == 0


def test_it_knows_the_admin_key(flush: Callable[..., bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEGATE_ADMIN_KEY", " word ")
    assert flush(metrics("0.0"))
    assert flush.asked == [("GET", "/metrics", {"authorization": "Bearer word"})]  # type: ignore[attr-defined]  # see above
