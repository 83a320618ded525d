"""What a user message asks of the chaos upstream: it rides in the message, so that nothing else is shared."""

from __future__ import annotations

from dataclasses import dataclass

WORD = " tune"
"""One token, in every encoding."""

PROMPT_TOKENS = 10


@dataclass(frozen=True)
class Wish:
    """How a call is to be answered.

    Args:
        words: how many words (tokens) the answer has.
        pause_ms: before each of them, or before a JSON reply as a whole.
        usage: tell the usage.
        fate: "answer", "fail" (500, at the first model only) or "cut" (the connection, in the middle).
    """

    token: str
    words: int
    pause_ms: int
    usage: bool
    fate: str

    @property
    def text(self) -> str:
        return f"chaos {self.token} {self.words} {self.pause_ms} {int(self.usage)} {self.fate}"

    @classmethod
    def read(cls, text: str) -> Wish:
        _, token, words, pause_ms, usage, fate = text.split()
        return cls(token, int(words), int(pause_ms), usage == "1", fate)
