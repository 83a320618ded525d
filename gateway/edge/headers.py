"""The headers of replies: what is known of the call, as far as it is known."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

from gateway.caller import Answer
from gateway.domain.facts import Facts, in_ms

EVENT_STREAM = b"text/event-stream; charset=utf-8"
Headers = tuple[tuple[bytes, bytes], ...]
_OPENAI = b"openai-"
_PASSED_ON = (_OPENAI + b"processing-ms", _OPENAI + b"version")
_FIGURES = re.compile(rb"[0-9.-]{1,20}")  # times and dates; an upstream's other texts are not for callers
_OVERHEAD = b"x-tunegate-overhead-ms"
_HEAD = b"content-type: %b\r\nx-request-id: %b\r\n%b" + _OVERHEAD + b": %.2f\r\n%b"
_STREAM_EXTRAS = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"


def reply_headers(facts: Facts, content_type: bytes, now: float, answer: Answer | None = None) -> bytes:
    """The headers of a reply, as lines of its head.

    Args:
        facts: of this request; `overhead_ms` is set, since the head leaves now.
        content_type: of the reply, `JSON` or `EVENT_STREAM`.
        now: a reading of the clock.
        answer: the upstream's answer, if one is passed on.
    """
    overhead_s = now - facts.started_at - facts.upstream_s
    overhead_ms = facts.overhead_ms = in_ms(overhead_s) if overhead_s > 0 else 0.0
    served = _served(
        facts.alias,
        facts.release,
        facts.model,
        facts.upstream,
        facts.fallback,
        facts.shutdown_date,
        facts.attempts,
    )
    head = _HEAD % (content_type, facts.request_id.encode(), served, overhead_ms, facts.rate_limits)
    if facts.cache is not None:
        head += _of_the_cache(facts.cache, facts.age_s)
    if answer is not None and answer.has_any(_OPENAI):
        for name in _PASSED_ON:
            sent = answer.header(name)
            if sent is not None and _FIGURES.fullmatch(sent):
                head += b"%b: %b\r\n" % (name, sent)
    return head + _STREAM_EXTRAS if content_type is EVENT_STREAM else head


def _of_the_cache(word: str, age_s: int | None) -> bytes:
    head = b"%b: %b\r\n" % (b"x-tunegate-cache", word.encode())
    return head if age_s is None else head + b"age: %d\r\n" % age_s


def lines(headers: Headers) -> bytes:
    """Headers as lines of a head."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


@lru_cache(maxsize=1024)  # the same few for nearly all replies
def _served(
    alias: str | None,
    release: str | None,
    model: str | None,
    upstream: str | None,
    fallback: str | None,
    shutdown_date: str | None,
    attempts: int,
) -> bytes:
    known = (
        (b"x-tunegate-alias", alias),
        (b"x-tunegate-release", release),
        (b"x-tunegate-model", model),
        (b"x-tunegate-upstream", upstream),
        (b"x-tunegate-fallback", fallback),
        (b"x-tunegate-attempts", None if fallback is None else str(attempts)),
        (b"x-tunegate-shutdown-date", shutdown_date),
    )
    return lines(tuple((name, _value(value)) for name, value in known if value is not None))


def usd(nanousd: int) -> bytes:
    """An amount as a decimal string."""
    return (b"%d.%09d" % divmod(nanousd, 10**9)).rstrip(b"0").rstrip(b".")


def _value(text: str) -> bytes:
    """A header's value: names of other scripts are percent-encoded."""
    return text.encode() if text.isascii() and text.isprintable() else quote(text, safe="").encode()
