"""Every metric of Tunegate: name, kind, labels, buckets, meaning. docs/metrics.md is written from here.

Label values are names from the configuration, route names, or one of the closed lists below, never anything
that a caller sends: `bounded` and `error_type` hold foreign words to that.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Literal

OTHER = "other"
"""Stands for whatever is no configured name."""

NONE = "none"
"""Stands for what a request does not have: no error, no upstream yet."""


# By identity: metrics are keys of the dicts of the hot path, and hashing every field would cost more than
# the counting.
@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric family. `buckets` are upper bounds in seconds, without the last, infinite one."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


REQUESTS = Metric(
    "tunegate_requests_total",
    "counter",
    "Requests that ended, by how they ended.",
    ("alias", "model", "upstream", "route", "status", "error_type"),
)
ATTEMPTS = Metric(
    "tunegate_attempts_total",
    "counter",
    "Calls of upstreams, by how they ended: committed, or a class of failure.",
    ("upstream", "outcome"),
)
FALLBACKS = Metric(
    "tunegate_fallbacks_total",
    "counter",
    "Requests that another target than the first one served, by why the first did not.",
    ("alias", "reason"),
)
TOKENS = Metric(
    "tunegate_tokens_total",
    "counter",
    "Tokens as upstreams report them; cached and cache_write are parts of prompt, reasoning of completion.",
    ("alias", "model", "kind"),
)
REQUEST_DURATION = Metric(
    "tunegate_request_duration_seconds",
    "histogram",
    "From a request's head to the last byte of its answer.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
TTFT = Metric(
    "tunegate_ttft_seconds",
    "histogram",
    "Time to first token of streams: from a request's head to the first event with content.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0),
)
OVERHEAD = Metric(
    "tunegate_overhead_seconds",
    "histogram",
    "The gateway's own time until an answer's head leaves: all but the waiting for upstreams.",
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0),
)
INTER_TOKEN = Metric(
    "tunegate_inter_token_seconds",
    "histogram",
    "Mean time between the tokens of a stream, once for each stream that is complete: from the first event "
    "with content to the last byte, by the completion tokens that the upstream reports.",
    buckets=(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.2, 0.5, 1.0),
)
IN_FLIGHT = Metric("tunegate_in_flight", "gauge", "Requests being served now.")
BREAKER_STATE = Metric(
    "tunegate_breaker_state",
    "gauge",
    "Open breakers of an upstream: one for each worker and credential that gets nothing from it.",
    ("upstream",),
)
STORE_ERRORS = Metric(
    "tunegate_store_errors_total",
    "counter",
    "Calls to the store that failed, by what they were for.",
    ("operation",),
)
STORE_AWAY = Metric("tunegate_store_away", "gauge", "Workers that cannot reach the store now.")
SETTLEMENTS = Metric(
    "tunegate_settlements_total",
    "counter",
    "Admitted requests that ended, by how sure their figures are.",
    ("state",),
)
JOURNAL_PENDING = Metric(
    "tunegate_journal_pending", "gauge", "Settlements on disk that the store does not have yet."
)
LIMIT_REJECTIONS = Metric(
    "tunegate_limit_rejections_total",
    "counter",
    "Requests that a bound of their key refused, by which.",
    ("limit",),
)
CACHE = Metric(
    "tunegate_cache_total",
    "counter",
    "Calls by how the response cache took part; beside them failures of its store, and answers that it could "
    "not read.",
    ("result",),
)
COST = Metric("tunegate_cost_usd_total", "counter", "Cost of settled requests, in USD.", ("alias", "model"))
MODEL_DAYS = Metric(
    "tunegate_model_days_to_shutdown",
    "gauge",
    "Days until a model that an alias may use ends, at the upstream that ends it last; "
    "absent where that is unknown.",
    ("alias", "model"),
)
WORKERS = Metric("tunegate_workers", "gauge", "Workers that report to the control process now.")
WORKER_STARTS = Metric(
    "tunegate_worker_starts_total",
    "counter",
    "Workers that have begun: at a start, a restart, a replacement.",
)
WORKER_REPLACEMENTS = Metric(
    "tunegate_worker_replacements_total",
    "counter",
    "Workers that took the place of another, by why.",
    ("reason",),
)
KEY_GUESSES = Metric(
    "tunegate_key_guesses_total",
    "counter",
    "Attempts with keys that were slowed down (data plane) or refused unseen (control plane), since their "
    "address, or all of them, had presented many wrong ones.",
    ("plane",),
)

ALL = (
    REQUESTS,
    ATTEMPTS,
    FALLBACKS,
    TOKENS,
    REQUEST_DURATION,
    TTFT,
    OVERHEAD,
    INTER_TOKEN,
    IN_FLIGHT,
    BREAKER_STATE,
    STORE_ERRORS,
    STORE_AWAY,
    SETTLEMENTS,
    JOURNAL_PENDING,
    LIMIT_REJECTIONS,
    CACHE,
    COST,
    MODEL_DAYS,
    WORKERS,
    WORKER_STARTS,
    WORKER_REPLACEMENTS,
    KEY_GUESSES,
)

CACHE_RESULTS = ("hit", "miss", "shared", "bypass", "error", "corrupt")
"""How the response cache took part, as `x-tunegate-cache` says; `error` and `corrupt` come on top."""

TOKEN_KINDS = ("prompt", "cached", "cache_write", "completion", "reasoning")

REPLACEMENT_REASONS = ("died", "unresponsive", "memory", "open_files", "asked")
"""Why one worker takes another's place, in the words of the supervisor."""

ERROR_TYPES: Mapping[str, str] = {
    NONE: "the request was served",
    "invalid_api_key": "no key, or one that is unknown, expired or revoked",
    "invalid_request_error": "unknown route, wrong method, or a request that cannot be read",
    "route_not_allowed": "the key may not use the route",
    "request_too_large": "the body is over `server.max_body_bytes`",
    "unsupported_content_encoding": "the body is compressed",
    "request_timeout": "the body did not arrive in time",
    "model_not_found": "no such alias or model, here or at any upstream",
    "model_not_allowed": "the key may not use the alias or model",
    "upstream_not_allowed": "the key may not choose its upstream, or chose an unknown one",
    "gateway_draining": "this process takes no new calls, or ended a stream to stop",
    "gateway_overloaded": "no room for another call",
    "rate_limit_exceeded": "requests, tokens or concurrency of the key, or every upstream is rate limited",
    "insufficient_quota": "budget or credit of the key is spent",
    "price_unknown": "the key has a budget and no target has a known price",
    "store_unavailable": "the store is away and the answer depends on it",
    "cache_miss": "the caller wanted the cache only, and it had nothing",
    "context_length_exceeded": "the upstream found the prompt too long",
    "upstream_timeout": "every attempt failed, the last by a timeout",
    "no_upstream": "nothing is left that could serve the model now",
    "upstream_error": "every attempt failed, or a stream broke in the middle",
    "stream_truncated": "the upstream ended a stream without finishing it",
    "stream_stalled": "the upstream sent nothing for too long in the middle of a stream",
    "client_left": "the caller went away before the answer was complete",
    "server_error": "a bug of the gateway",
    OTHER: "the upstream refused this very request, with a code of its own",
}
"""The closed list of `error_type`, each with its meaning. The words are those of the error replies: `code`
where there is one, else `type`."""


def error_type(word: str | None) -> str:
    """A word for the label `error_type`: `none` for None, `other` for a word that is not in the list."""
    if word is None:
        return NONE
    return word if word in ERROR_TYPES else OTHER


def bounded(name: str | None, configured: Container[str]) -> str:
    """A name for a label: itself where it is configured, `other` where not, `none` for None."""
    if name is None:
        return NONE
    return name if name in configured else OTHER
