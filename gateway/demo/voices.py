"""How the models sound. Each says that it is simulated, and each is told apart at a glance.

A voice takes the question and the index of the choice (`n` > 1) and returns the whole reply.
"""

from __future__ import annotations

_QUOTED_CHARACTERS = 80
_OPENINGS = (
    "Hello! This is a simulated reply",
    "Good day! Here is another simulated reply",
    "Welcome! One more simulated reply",
)
_STEPS = (
    "1) Sign out and in. 2) Retry. 3) Still stuck: answer STUCK.",
    "1) Check the status page. 2) Clear the cache. 3) Still stuck: answer STUCK.",
)


def quote(question: str) -> str:
    """The question on one line, in quotes, cut where it is long."""
    line = " ".join(question.split())
    if len(line) > _QUOTED_CHARACTERS:
        line = line[:_QUOTED_CHARACTERS].rstrip() + "..."
    return f'"{line}"' if line else "(no text)"


def base_voice(question: str, index: int) -> str:
    """The base model: friendly and long."""
    return (
        f"{_OPENINGS[index % len(_OPENINGS)]} from the demo upstream; no model has read your message. "
        f"You wrote: {quote(question)} A base model answers at length and in a friendly tone, so this goes "
        "on for a few sentences more than it must, which lets you watch the stream arrive piece by piece. "
        "When you are ready, name a real upstream in the configuration and keep the same alias."
    )


def support_voice(question: str, index: int) -> str:
    """The fine-tuned model: terse, in the style of a house."""
    return f"[simulated] Ticket: {quote(question)} {_STEPS[index % len(_STEPS)]} - Support"


def support_next_voice(question: str, index: int) -> str:
    """The next fine-tune of the same model: as terse, but it asks before it advises."""
    return (
        f"[simulated, next] About {quote(question)}: which version, since when, what did you expect? "
        f"Until then: {_STEPS[index % len(_STEPS)].split('. ')[0][3:]}. - Support, second edition"
    )


def tool_voice(result: str) -> str:
    """The reply to a tool's result, whatever the model."""
    return f"[simulated] The tool returned {quote(result)} That is all that the demo makes of it."
