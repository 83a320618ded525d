"""The headers of replies: what is known of the call, as far as it is known."""

from __future__ import annotations

import re
from typing import Protocol
from urllib.parse import quote

from gateway.domain.facts import Facts
from gateway.edge.exchange import Headers

_PASSED_ON = (b"openai-processing-ms", b"openai-version")
_FIGURES = re.compile(rb"[0-9.-]{1,20}")  # times and dates; an upstream's other texts are not for callers
_STREAM_EXTRAS = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


class Answer(Protocol):
    """An upstream's answer, for the few headers of it that callers get."""

    def header(self, name: bytes) -> bytes | None:
        """The first header of this lower-case name."""


def reply_headers(facts: Facts, content_type: bytes, now: float, answer: Answer | None = None) -> Headers:
    """The headers of a reply.

    Args:
        facts: of this request; `overhead_ms` is set, since the head leaves now.
        content_type: of the reply.
        now: a reading of the clock.
        answer: the upstream's answer, if one is passed on.
    """
    overhead_ms = max(0.0, now - facts.started_at - facts.upstream_s) * 1000
    facts.overhead_ms = round(overhead_ms, 3)
    headers = [(b"content-type", content_type), (b"x-request-id", facts.request_id.encode())]
    for name, value in (
        (b"x-tunegate-alias", facts.alias),
        (b"x-tunegate-release", facts.release),
        (b"x-tunegate-model", facts.model),
        (b"x-tunegate-upstream", facts.upstream),
        (b"x-tunegate-fallback", facts.fallback),
        (b"x-tunegate-shutdown-date", facts.shutdown_date),
    ):
        if value is not None:
            headers.append((name, _value(value)))
    if facts.fallback is not None:
        headers.append((b"x-tunegate-attempts", str(facts.attempts).encode()))
    headers.append((b"x-tunegate-overhead-ms", b"%.2f" % overhead_ms))
    headers += facts.rate_limits
    if answer is not None:
        headers += [
            (name, sent)
            for name in _PASSED_ON
            if (sent := answer.header(name)) is not None and _FIGURES.fullmatch(sent)
        ]
    if content_type.startswith(b"text/event-stream"):
        headers += _STREAM_EXTRAS
    return tuple(headers)


def usd(nanousd: int) -> bytes:
    """An amount as a decimal string."""
    whole, rest = divmod(nanousd, 10**9)
    return (f"{whole}.{rest:09d}".rstrip("0").rstrip(".") if rest else str(whole)).encode()


def _value(text: str) -> bytes:
    """A header's value: names of other scripts are percent-encoded."""
    return text.encode() if text.isascii() and text.isprintable() else quote(text, safe="").encode()
