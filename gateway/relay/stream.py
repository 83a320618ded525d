"""What may leave of a chat or completions stream, and how the stream stands.

Events pass byte for byte, with two exceptions: the usage-only chunk is withheld from clients that did not
ask for it, and malformed framing is repaired, so that only clean events leave.

Most bytes never become events: a block of *plain* events (one `data: {...}` line each, nothing the gateway
needs inside) is recognised by a few searches and handed on as it is. Whether an event is plain does not
depend on how its bytes were cut, so neither does what leaves.
"""

from __future__ import annotations

import msgspec

from gateway.domain.errors import StreamBroken
from gateway.domain.usage import Usage
from gateway.relay.chunk import (
    error_of,
    finished_choices,
    has_content,
    is_usage_only,
    load_object,
    read_usage,
    tier_of,
)
from gateway.relay.said import Said
from gateway.relay.sse import MAX_EVENT_BYTES, Event, SSEDecoder, parse

MAX_HELD_BYTES = 64 * 1024
"""What is held before the commit point."""


class Stream:
    """State of one stream. Feed it the upstream's bytes; it returns the bytes that may leave.

    Until `is_committed`, everything is held: the first return after the commit point holds all of it.
    `[DONE]` is never returned: it leaves after the settlement, written by whoever settles. Once `broken` is
    set, what came before has been returned and nothing more will be.

    Args:
        wants_usage: the client asked for the usage-only chunk.
        choices: how many answers were asked for; the stream is finished when each has ended.
    """

    __slots__ = (
        "_choices",
        "_decoder",
        "_finished",
        "_held",
        "_held_bytes",
        "_wants_usage",
        "broken",
        "is_committed",
        "is_done",
        "is_flowing",
        "said",
        "service_tier",
        "usage",
    )

    def __init__(self, *, wants_usage: bool, choices: int = 1) -> None:
        self.is_committed = False
        self.is_done = False
        self.broken: StreamBroken | None = None
        self.usage: Usage | None = None
        self.service_tier: str | None = None
        self._wants_usage = wants_usage
        self._choices = choices
        self._finished: set[int] = set()
        self._decoder = SSEDecoder()
        self.said = Said()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.is_flowing = False
        """It is committed, not over, and between two events: what `said` repeats leaves as it is."""

    @property
    def is_finished(self) -> bool:
        """True when every choice has its finish reason, or `[DONE]` came."""
        return self.is_done or len(self._finished) >= self._choices

    def feed(self, chunk: bytes) -> bytes:
        """Bytes that may leave now. Whoever has many chunks asks `said` first, while it flows."""
        if self.is_flowing and (self.said.repeats(chunk) or self._learns(chunk)):
            return chunk
        decoder = self._decoder
        is_open = self.is_committed and not self.is_done and self.broken is None
        is_known = self.is_flowing and chunk.endswith(b"\n\n")  # as a block that is not plain
        block = decoder.whole(chunk) if is_open and not is_known else b""
        if block and (self.said.repeats(block) or self._learns(block)):
            events = decoder.skip(block, chunk)
            out = block + self._pass(events) if events else block
        else:
            out = self._pass(decoder.split(chunk))
        if decoder.is_overlong and not self.is_done and self.broken is None:
            self.broken = StreamBroken("upstream_error", "The upstream sent an event of over 1 MiB.")
        is_over = self.is_done or self.broken is not None
        self.is_flowing = self.is_committed and not is_over and not decoder.held
        return out

    def close(self) -> bytes:
        """The upstream's body ended in good order: what is left to leave.

        `broken` is set to `stream_truncated` where it ended without a finish reason.
        """
        self.is_flowing = False
        rest = self._decoder.close()
        left = self._pass([event for event in rest if not _is_cut(parse(event))])
        if self.broken is None and not self.is_finished:
            self.broken = StreamBroken(
                "stream_truncated", "The upstream ended the stream before the answer was complete."
            )
        return left

    def _learns(self, block: bytes) -> bool:
        if not _is_plain(block):
            return False
        self.said.learn(block)
        return True

    def _pass(self, events: list[bytes]) -> bytes:
        out = self._held
        for event in events:
            if self.is_done or self.broken is not None:
                break
            if event == _DONE:
                self.is_done = True
            elif self.is_committed and _is_plain(event):
                out.append(event)
            elif _is_one_line(event):
                self._read(event, event[len(b"data: ") :], out)
            else:
                for clean, text in _cleaned(parse(event)):
                    self._inspect(clean, text, out)
        if not self.is_committed:
            return b""
        self._held = []
        passed = b"".join(out)
        if passed:
            self.said.add(passed)
        return passed

    def relayed_text(self) -> str:
        """What the model wrote in all that was returned, for an estimate where no usage is stated."""
        return self.said.text()

    def _inspect(self, clean: bytes, text: bytes, out: list[bytes]) -> None:
        """Let an event leave that was made clean, if it may."""
        if self.is_done or self.broken is not None:
            return
        if text == b"[DONE]":
            self.is_done = True
        elif text:
            self._read(clean, text, out)
        elif self.is_committed:  # a comment: worth its bytes only as a keep-alive
            out.append(clean)

    def _read(self, clean: bytes, text: bytes, out: list[bytes]) -> None:
        """Read an event's data; the event, already clean, leaves if it may."""
        document = load_object(text)
        if document is None:
            out.append(clean)
            return
        if error_of(document) is not None:
            # Its words stay here: nobody knows what an upstream quotes when it fails.
            self.broken = StreamBroken("upstream_error", "The upstream reported an error inside the stream.")
            return
        if usage := document.get("usage"):  # the last wins, never the sum: some send it in every chunk
            self.usage = read_usage(usage) or self.usage
        if tier := document.get("service_tier"):
            self.service_tier = tier_of(tier) or self.service_tier
        self._finished |= finished_choices(document)
        if usage is not None and not self._wants_usage and is_usage_only(document):
            return
        out.append(clean)
        if self.is_committed:
            return
        self._held_bytes += len(clean)
        if has_content(document):
            self.is_committed = True
        elif self._held_bytes > MAX_HELD_BYTES:
            self.broken = StreamBroken("upstream_error", "The upstream sent over 64 KiB before any content.")


def _cleaned(event: Event) -> list[tuple[bytes, bytes]]:
    """The event as (bytes that official clients take, data) pairs: none, itself, or what it was made of.

    Official clients fail on events without data, on `id` lines, on data that is no JSON, and on two
    chunks that only one line end parts. A comment comes back with empty data.
    """
    lines = [line for line in event.data if line.strip()]
    if not lines:
        if event.stray:
            return [(b"data: " + event.stray + b"\n\n", event.stray)]
        is_comment = not event.data and not event.extras and event.raw.startswith(b":")
        return [(event.raw, b"")] if is_comment else []
    if len(lines) > 1:
        joined = b"\n".join(lines)
        if load_object(joined) is None:
            return [(b"data: " + line.strip() + b"\n\n", line.strip()) for line in lines if _is_chunk(line)]
        return [(b"".join(b"data: " + line + b"\n" for line in lines) + b"\n", joined)]
    text = lines[0].strip()
    if not _is_chunk(text):
        return []
    if event.event == b"error" and (document := load_object(text)) and error_of(document) is None:
        text = msgspec.json.encode({"error": document})
    is_clean = not event.extras and len(event.data) == 1 and event.raw[-2:] in _BLANK_LINES
    return [(event.raw if is_clean else b"data: " + text + b"\n\n", text)]


_DONE = b"data: [DONE]\n\n"
_BLANK_LINES = (b"\n\n", b"\r\r", b"\r\n")


def _is_one_line(event: bytes) -> bool:
    """True for an event that is clean and has an object for data: nearly every event."""
    return (
        event.startswith(b"data: {")
        and event.endswith(b"}\n\n")
        and event.find(b"\n") == len(event) - 2
        and event.find(b"\r") < 0
    )


def _is_chunk(line: bytes) -> bool:
    """Data that is neither an object nor the end is a keep-alive of some relays."""
    text = line.strip()
    return text.startswith(b"{") or text == b"[DONE]"


def _is_cut(event: Event) -> bool:
    """True for a last event whose JSON stops in the middle."""
    return event.text.strip() != b"[DONE]" and not event.stray and load_object(event.text) is None


def _is_plain(block: bytes) -> bool:
    """True for one or more events of exactly the form `data: {...}` LF LF that carry nothing of interest.

    Of interest: an error, usage, a finish reason. Inside JSON strings quotes are escaped, so these
    searches find keys only.
    """
    count, find = block.count, block.find  # `find`, since `in` of bytes costs three times as much
    return (
        block.startswith(b"data: {")
        and block.endswith(b"}\n\n")
        and find(b"\r") < 0
        and find(b'"error"') < 0
        and count(b'"finish_reason"') == count(b'"finish_reason":null')
        and count(b'"usage"') == count(b'"usage":null')
        and (find(b"\n") == len(block) - 2 or count(b"\n") == 2 * (count(b"}\n\ndata: {") + 1))
        and len(block) <= MAX_EVENT_BYTES
    )
