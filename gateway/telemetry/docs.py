"""docs/metrics.md, written from `metrics.py` so that it cannot say anything else."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.domain.errors import FailureClass
from gateway.telemetry.metrics import (
    ALL,
    CACHE_RESULTS,
    ERROR_TYPES,
    NONE,
    OTHER,
    REPLACEMENT_REASONS,
    TOKEN_KINDS,
    Metric,
)

_HEAD = """\
# Metrics

<!-- Written by `python3 dev.py docs` from `gateway/telemetry/metrics.py`. Edit that. -->

`GET /metrics` on the control plane, in Prometheus' text format or OpenMetrics, as the `Accept` header asks.
Figures are sums over all workers of this replica, which report each second: a worker that is killed may take
its last second of figures with it. Counters and histograms keep what a worker that has left had counted; they
start again from what the living workers have counted when the control process is restarted. With
`admin.metrics_auth: true` the route wants the admin key.

Label values are names from the configuration, route names or words of the closed lists below, never text that
a caller sends.
"""


def render() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_table(), *_labels(), *_buckets(), *_errors()])


def _table() -> Iterator[str]:
    yield "## All metrics\n"
    yield "| metric | kind | labels | meaning |"
    yield "|---|---|---|---|"
    for metric in ALL:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
        yield f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"
    yield ""


def _labels() -> Iterator[str]:
    meanings = {
        "alias": f"a configured alias; `{NONE}` for calls by model id",
        "model": f"the id asked of the upstream; `{OTHER}` for ids that the configuration does not name",
        "upstream": f"a configured upstream; `{NONE}` where none was reached",
        "route": f"the name that virtual keys allow it by, such as `chat.completions`; else `{OTHER}`",
        "status": "the HTTP status; 499 where the caller left before there was one",
        "error_type": "see below",
        "outcome": f"`committed`, `client_left`, or {_words(FailureClass)}",
        "reason": "of fallbacks, the words of `x-tunegate-fallback`: a class of failure, or a reason of "
        f"`explain`; of workers, {_words(REPLACEMENT_REASONS)}",
        "plane": "`data` or `control`",
        "kind": _words(TOKEN_KINDS),
        "operation": "what the gateway wanted of the store",
        "state": "`exact`, `estimated`, `released` or `orphaned`, as in the ledger",
        "result": _words(CACHE_RESULTS),
        "limit": "`requests`, `tokens`, `concurrency`, `budget` or `credit`",
    }
    yield "## Labels\n"
    yield "| label | values |"
    yield "|---|---|"
    for label in dict.fromkeys(label for metric in ALL for label in metric.labels):
        yield f"| `{label}` | {meanings[label]} |"
    yield ""


def _buckets() -> Iterator[str]:
    yield "## Buckets\n"
    yield "| histogram | upper bounds, seconds |"
    yield "|---|---|"
    for metric in ALL:
        if metric.kind == "histogram":
            yield f"| `{metric.name}` | {_bounds(metric)} |"
    yield ""


def _errors() -> Iterator[str]:
    yield "## `error_type`\n"
    yield "A closed list. The words are those of the error replies: `code` where there is one, else `type`.\n"
    yield "| value | meaning |"
    yield "|---|---|"
    for word, meaning in ERROR_TYPES.items():
        yield f"| `{word}` | {meaning} |"
    yield ""


def _bounds(metric: Metric) -> str:
    return ", ".join(f"{bound:g}" for bound in metric.buckets)


def _words(words: type[FailureClass] | tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in words)
