"""Errors as callers see them: the one table from our errors to status, `type`, `code` and headers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.domain import errors

JSON = b"application/json"
_INVALID = "invalid_request_error"
_SERVER = "server_error"
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error, ready to send."""

    status: int
    body: dict[str, Any]
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def content(self) -> bytes:
        """The JSON body: all four keys of the official shape."""
        return _encode({"error": self.body})

    @property
    def error_type(self) -> str:
        """What metrics and logs call it: the code where there is one, else the type."""
        return str(self.body["code"] or self.body["type"])


@dataclass(frozen=True, slots=True)
class _Row:
    status: int
    type: str
    code: str | None
    headers: Mapping[bytes, bytes] = field(default_factory=dict)


_TABLE: dict[type[errors.GatewayError], _Row] = {
    errors.BadKey: _Row(401, _INVALID, "invalid_api_key"),
    errors.RouteNotFound: _Row(404, _INVALID, None),
    errors.MethodNotAllowed: _Row(405, _INVALID, None),
    errors.NotAvailableYet: _Row(404, _INVALID, None),
    errors.RouteNotAllowed: _Row(403, _INVALID, "route_not_allowed"),
    errors.RequestTooLarge: _Row(413, _INVALID, "request_too_large"),
    errors.EncodedBody: _Row(415, _INVALID, "unsupported_content_encoding"),
    errors.SlowBody: _Row(408, _INVALID, "request_timeout"),
    errors.InvalidRequest: _Row(400, _INVALID, None),
    errors.ModelNotFound: _Row(404, _INVALID, "model_not_found"),
    errors.ModelNotAllowed: _Row(403, _INVALID, "model_not_allowed"),
    errors.CacheMiss: _Row(404, _INVALID, "cache_miss"),
    errors.PinNotAllowed: _Row(403, _INVALID, "upstream_not_allowed"),
    errors.Draining: _Row(503, _SERVER, "gateway_draining"),
    errors.Overloaded: _Row(503, _SERVER, "gateway_overloaded"),
    errors.StoreUnavailable: _Row(503, _SERVER, "store_unavailable"),
    errors.BudgetSpent: _Row(429, "insufficient_quota", "insufficient_quota"),
    errors.PriceUnknown: _Row(503, _SERVER, "price_unknown"),
    errors.AllRateLimited: _Row(429, "requests", "rate_limit_exceeded"),
    errors.UpstreamTimedOut: _Row(504, _SERVER, "upstream_timeout"),
    errors.NoUpstream: _Row(503, _SERVER, "no_upstream"),
    errors.UpstreamsFailed: _Row(502, _SERVER, "upstream_error"),
}


def render(error: errors.GatewayError) -> ErrorReply:
    """The reply for an error of ours."""
    if isinstance(error, errors.UpstreamRejected):
        return ErrorReply(error.status, error.body)
    if isinstance(error, errors.RateLimited):
        row = _Row(429, error.dimension, "rate_limit_exceeded")
    else:
        row = _TABLE[type(error)]
    body = {"message": str(error), "type": row.type, "param": error.param, "code": row.code}
    return ErrorReply(row.status, body, _headers(error))


def render_unexpected() -> ErrorReply:
    """The reply for a bug of ours: it says nothing about it."""
    body = {
        "message": "The gateway failed to handle this request.",
        "type": _SERVER,
        "param": None,
        "code": None,
    }
    return ErrorReply(500, body)


_WAITING = errors.InternalError | errors.AllRateLimited | errors.RateLimited


def error_event(code: str, message: str) -> bytes:
    """The one event that ends a stream which failed after the commit point."""
    error = {"message": message, "type": _SERVER, "param": None, "code": code}
    return b"data: " + _encode({"error": error}) + b"\n\n"


def _headers(error: errors.GatewayError) -> tuple[tuple[bytes, bytes], ...]:
    if isinstance(error, errors.MethodNotAllowed):
        return ((b"allow", error.allow.encode()),)
    wait_s: float | None = None
    if isinstance(error, errors.NoUpstream):
        wait_s = error.retry_after_s or 1.0
    elif isinstance(error, _WAITING):
        wait_s = error.retry_after_s
    if wait_s is None:
        is_final = isinstance(error, errors.LimitError)  # SDKs retry every 429 unless they are told not to
        return ((b"x-should-retry", b"false"),) if is_final else ()
    return (
        (b"retry-after", str(max(1, math.ceil(wait_s))).encode()),
        (b"retry-after-ms", str(max(1, math.ceil(wait_s * 1000))).encode()),
    )
