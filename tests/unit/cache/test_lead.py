"""Which answer of a flight is kept."""

import msgspec
import pytest

from gateway.cache.flight import Flight, Head
from gateway.cache.lead import Lead
from gateway.caller import Answer
from gateway.domain.call import CHAT
from gateway.domain.errors import StreamBroken
from gateway.domain.facts import Facts
from gateway.domain.plan import Candidate, Rewrite, Target
from gateway.edge.request import parse_call
from tests.support.fake_upstream import finish, role, text

FIRST = Candidate("openai", "tuned")
RELAY = Candidate("relay", "tuned")
FALLBACK = Candidate("openai", "base", step=1)
REWRITTEN = Candidate("relay", "tuned", step=1, rewrite=Rewrite("r"))
CALL = parse_call(CHAT, b'{"model":"s","messages":[{"role":"user","content":"hi"}]}', 64)
BODY = msgspec.json.encode({"choices": [{"index": 0, "message": {}, "finish_reason": "stop"}]})


class NoAnswer:
    def header(self, name: bytes) -> bytes | None:  # noqa: ARG002  # the port's signature
        return None

    def has_any(self, beginning: bytes) -> bool:  # noqa: ARG002  # likewise
        return False


ANSWER: Answer = NoAnswer()


def facts(upstream: str = "openai", model: str = "tuned", fallback: str = "none") -> Facts:
    return Facts("req", 0.0, upstream=upstream, model=model, fallback=fallback)


def target(*candidates: Candidate) -> Target:
    return Target("s", "s", "s@1/stable", candidates or (FIRST, RELAY, FALLBACK))


def keeps(known: Facts, meant: Target, most_bytes: int = 1000) -> bool:
    lead = Lead(Flight(0), known, None)
    lead.reply(BODY, ANSWER)
    return lead.entry(CALL, meant, most_bytes, 1.0) is not None


class Ear:
    """Hears what a reader is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def pause(self) -> None:
        self.heard.append("pause")

    def resume(self) -> None:
        self.heard.append("resume")

    def client_gone(self) -> None:
        self.heard.append("gone")


def test_whoever_watches_late_is_told_at_once_that_all_have_left() -> None:
    lead, early, late = Lead(Flight(0), facts(), None), Ear(), Ear()
    lead.watch(early)

    lead.abandoned()
    lead.watch(late)

    assert early.heard == late.heard == ["gone"]


class TestKept:
    def test_the_aliases_own_model(self) -> None:
        assert keeps(facts(), target())

    def test_at_another_of_its_upstreams(self) -> None:
        assert keeps(facts("relay", "tuned", "server_error"), target())

    def test_not_a_fallbacks(self) -> None:
        assert not keeps(facts("openai", "base", "server_error"), target())

    def test_not_the_same_model_asked_otherwise(self) -> None:
        assert not keeps(facts("relay", "tuned", "server_error"), target(FIRST, REWRITTEN))
        assert not keeps(facts("relay", "tuned", "server_error"), target(RELAY, REWRITTEN))
        assert keeps(facts("relay", "tuned"), target(RELAY, REWRITTEN))

    def test_not_what_is_too_long(self) -> None:
        assert keeps(facts(), target(), len(BODY))
        assert not keeps(facts(), target(), len(BODY) - 1)


class TestStreams:
    @pytest.mark.parametrize("error", [None, StreamBroken("stream_truncated", "x")])
    async def test_whole_ones(self, error: StreamBroken | None) -> None:
        flight = Flight(0)
        lead = Lead(flight, facts(), None)
        drain = lead.start_stream(flight, ANSWER)  # type: ignore[arg-type]  # never told anything
        drain.write(role() + text("a") + finish())
        lead.finish_stream(error)
        entry = lead.entry(CALL, target(), 1000, 1.0)

        assert flight.head == Head("stream", "tuned", "openai", "none")
        if error is not None:
            assert entry is None
        else:
            assert entry is not None
            assert entry.parts == (role(), text("a"), finish())

    async def test_not_one_that_is_no_longer_kept_whole(self) -> None:
        flight = Flight(0)
        lead = Lead(flight, facts(), None)
        drain = lead.start_stream(flight, ANSWER)  # type: ignore[arg-type]  # never told anything
        for _ in range(5):
            drain.write(text("x" * 300_000))
        drain.write(finish())
        lead.finish_stream(None)

        assert lead.entry(CALL, target(), 10**9, 1.0) is None
