"""Which kinds are held to which checks, and why one is not; a table of it stands in docs/upstreams.md."""

from __future__ import annotations

CHECKS = {
    "json": "a reply in the official shape, the model header, the ledger's record",
    "stream": "clean events, one id, the reply's text, a finish reason, `[DONE]`",
    "tools": "a function is called, in a reply and in a stream",
    "usage": "the provider's own counts, in the reply, in the stream where asked for, in the ledger",
    "errors": "rate limit, credential, unknown model, too long, server error: status, `code`, `retry-after`",
    "cancel": "a caller leaves midway: the upstream's connection is closed within a second",
    "early leave": "a caller leaves before the first content, in a reply and in a stream: likewise",
    "odd frames": "odd frames come out clean; breaks, reports and early ends are errors, without `[DONE]`",
}

KINDS = {
    "demo": "`demo`, the simulated one",
    "openai": "`openai`, a scripted relay with odd frames",
    "azure": "`azure`, a double that refuses what Azure refuses",
    "adapter": "`openai`, a real llama.cpp with LoRA adapters",
    "anthropic": "`litellm`, a double of Anthropic's Messages API",
    "gemini": "`litellm`, a double of Google's Gemini API",
}

FAST = ("demo", "openai", "azure")
"""Run by `dev.py test`; the others by `dev.py e2e`, which makes what they need."""

EXCEPT = {
    ("adapter", "tools"): "a model of half a megabyte calls no tools",
    ("adapter", "early leave"): "its first word comes within milliseconds",
    ("adapter", "odd frames"): "a real server sends the frames it sends",
}


def applies(kind: str, check: str) -> bool:
    """True where the check is run."""
    return (kind, check) not in EXCEPT


def blocks() -> dict[str, str]:
    """The part of docs/upstreams.md that is generated."""
    return {"conformance": render()}


def render() -> str:
    """The table in Markdown, and below it what each check means and why some are left out."""
    notes: list[str] = []
    rows = [f"| | {' | '.join(CHECKS)} |", f"|---|{'---|' * len(CHECKS)}"]
    for kind, shown in KINDS.items():
        cells = []
        for check in CHECKS:
            if applies(kind, check):
                cells.append("yes")
            else:
                notes.append(EXCEPT[kind, check])
                cells.append(f"no, {len(notes)}")
        rows.append(f"| {shown} | {' | '.join(cells)} |")
    meanings = [f"- **{check}**: {meaning}." for check, meaning in CHECKS.items()]
    reasons = [f"{number}. {reason}" for number, reason in enumerate(notes, 1)]
    return "\n".join([*rows, "", *reasons, "", *meanings]) + "\n"
