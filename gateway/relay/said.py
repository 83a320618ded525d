"""All that left of a stream, kept small: most streams end with a usage, and then nobody asks what was said.

Most chunks of a stream are cast in one *mould*: they differ in the model's text and in nothing else. Of those
the text alone is kept. Whatever else left is kept as it is, and squeezed where it is much.
"""

from __future__ import annotations

import re
import zlib
from functools import partial

from gateway.relay.chunk import load_object, text_of
from gateway.relay.sse import MAX_EVENT_BYTES, SSEDecoder

_TEXT = re.compile(
    rb'"(?:content|text|reasoning_content|reasoning|refusal|arguments)":"((?:[^"\\\r\n]|\\[^\r\n])+)"'
)
_IS_INSIDE_OF_STRING = re.compile(rb'[^"\\\r\n]*(?:\\[^\r\n][^"\\\r\n]*)*').fullmatch

_QUOTE, _BACKSLASH, _CR, _LF = b'"\\\r\n'

_MAX_LOOSE_BYTES = 16 * 1024
_WORTH_SQUEEZING_BYTES = 1024
_FEW_TEXTS = 16


class Said:
    """What left of one stream."""

    __slots__ = ("_back", "_front", "_loose", "_loose_bytes", "_packed", "_texts")

    def __init__(self) -> None:
        self._front = self._back = b""  # of the mould, around the text; empty while there is none
        self._texts = bytearray()  # of the chunks since the last loose one, a line each
        self._loose: list[bytes] = []
        self._loose_bytes = 0
        self._packed: list[partial[bytes]] = []  # what left before, in order; each gives its bytes back

    def repeats(self, chunk: bytes) -> bool:
        """Whether `chunk` is one event of the mould, or several; it is remembered then.

        It holds what the event did that was learnt from, but for the inside of a JSON string.
        """
        rest = chunk.removeprefix(self._front)
        text = rest.removesuffix(self._back)
        if rest is chunk or text is rest or len(chunk) > MAX_EVENT_BYTES:
            return False
        is_special = _QUOTE in text or _BACKSLASH in text or _CR in text or _LF in text
        if is_special and not _IS_INSIDE_OF_STRING(text):
            texts = text.split(self._back + self._front)
            if not all(map(_IS_INSIDE_OF_STRING, texts)):
                return False
            text = b"\n".join(texts)
        lines = self._texts
        lines += text
        lines += b"\n"
        return True

    def add(self, passed: bytes) -> None:
        """Remember these bytes."""
        if self._texts:
            self._pack_texts()
        self._loose.append(passed)
        self._loose_bytes += len(passed)
        if self._loose_bytes > _MAX_LOOSE_BYTES:
            self._pack_loose()

    def learn(self, passed: bytes) -> None:
        """Remember these plain events, and take the mould of the last one if it carries text."""
        self.add(passed)
        event = passed[:-2].rpartition(b"\n\n")[2] + b"\n\n"
        found = _TEXT.search(event)
        if found is not None and event.find(b'"choices"') >= 0:
            start, end = found.span(1)
            self._front, self._back = event[:start], event[end:]

    def text(self) -> str:
        """What the model wrote."""
        passed = [unpack() for unpack in self._packed] + self._loose
        if self._texts:
            passed.append(_cast(self._front, self._back, bytes(self._texts)))
        documents = (load_object(event.text) for event in SSEDecoder().feed(b"".join(passed)))
        return "".join(text_of(document) for document in documents if document is not None)

    def _pack_texts(self) -> None:
        texts, self._texts = bytes(self._texts), bytearray()
        if texts.count(b"\n") < _FEW_TEXTS:
            self._loose.append(_cast(self._front, self._back, texts))
            self._loose_bytes += len(self._loose[-1])
            return
        self._pack_loose()
        self._packed.append(partial(_cast, self._front, self._back, texts))

    def _pack_loose(self) -> None:
        loose = b"".join(self._loose)
        self._loose, self._loose_bytes = [], 0
        if not loose:
            return
        if len(loose) < _WORTH_SQUEEZING_BYTES:
            self._packed.append(partial(bytes, loose))
            return
        squeezer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 5)  # 5: it works in the cache
        self._packed.append(partial(_unsqueezed, squeezer.compress(loose) + squeezer.flush()))


def _cast(front: bytes, back: bytes, texts: bytes) -> bytes:
    """The chunks that had these texts, a line each."""
    return front + texts[:-1].replace(b"\n", back + front) + back


def _unsqueezed(squeezed: bytes) -> bytes:
    return zlib.decompress(squeezed, -zlib.MAX_WBITS)
