"""The one table from errors to HTTP on the control plane, in the official shape with all four keys."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from gateway.config import ConfigError, Problem
from gateway.domain.errors import (
    BadKey,
    CallerError,
    GatewayError,
    InvalidRequest,
    ModelNotAllowed,
    ModelNotFound,
    NotAvailableYet,
    RateLimited,
    UpstreamsFailed,
)
from gateway.store.errors import StoreAway, StoreError

log = structlog.get_logger(__name__)

_SERVER_ERROR = "server_error"
_INVALID = "invalid_request_error"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class NotFound(CallerError):
    """Nothing has this id or name; `param` names the field that gave it."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


class Conflict(CallerError):
    """Somebody else changed the same thing at the same time."""


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """The official error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_response(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Problem] | None = None,
) -> JSONResponse:
    """An answer in the official error shape; `errors` lists every mistake where there may be several."""
    content = error_body(message, _SERVER_ERROR if status >= 500 else _INVALID, code, param)
    if errors is not None:
        content["errors"] = [
            {"path": problem.path, "line": problem.line, "message": problem.message} for problem in errors
        ]
    return JSONResponse(content, status, headers)


def internal_error_response() -> JSONResponse:
    """500 without details: they are in the log, under the request's id."""
    return error_response(
        500, "The control plane failed to answer. Its log has the details, under this answer's x-request-id."
    )


def install(app: FastAPI) -> None:
    """Make the app answer every error by this table."""
    for kind in (GatewayError, StoreError, ConfigError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _on_error)


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    return answer_to(error, request)


def answer_to(error: Exception, request: Request) -> JSONResponse:  # noqa: C901, PLR0911, PLR0912  # a table has as many ways out as rows
    """The answer to an error, by the table of this module."""
    match error:
        case BadKey():
            bearer = {"www-authenticate": "Bearer"}
            return error_response(401, str(error), code="invalid_api_key", headers=bearer)
        case RateLimited():
            return _limited_response(error)
        case ModelNotFound():
            return error_response(404, str(error), code="model_not_found", param=error.param)
        case ModelNotAllowed():
            return error_response(403, str(error), code="model_not_allowed", param=error.param)
        case NotFound() | NotAvailableYet():
            return error_response(404, str(error), param=error.param)
        case Conflict():
            return error_response(409, str(error))
        case UpstreamsFailed():
            return error_response(502, str(error), code="upstream_error")
        case InvalidRequest():
            return error_response(400, str(error), param=error.param)
        case RequestValidationError():
            content_type = request.headers.get("content-type")
            message, param = describe_invalid(error.errors(), error.body, content_type)
            return error_response(400, message, param=param)
        case ConfigError():
            return _config_response(error)
        case StoreError():
            return _store_response(error)
        case HTTPException():
            return _http_response(error, request)
        case _:
            return internal_error_response()


def _limited_response(error: RateLimited) -> JSONResponse:
    wait_s = error.retry_after_s or 0.0
    again = {
        "retry-after": str(max(1, math.ceil(wait_s))),
        "retry-after-ms": str(max(1, math.ceil(wait_s * 1000))),
    }
    content = error_body(str(error), error.dimension, "rate_limit_exceeded")
    return JSONResponse(content, 429, again)


def _config_response(error: ConfigError) -> JSONResponse:
    first = error.problems[0]
    message = f"{first.path}: {first.message}" if first.path else first.message
    if len(error.problems) > 1:
        message += f" ({len(error.problems)} mistakes; `errors` lists all)"
    return error_response(400, message, param=first.path or None, errors=error.problems)


def _store_response(error: StoreError) -> JSONResponse:
    """503: the store is away, or will not do what it is asked."""
    if not isinstance(error, StoreAway):
        log.error("the store refused a command", error=str(error))
    again = {"retry-after": "1"}
    return error_response(
        503, "The store is unavailable. Try again in a moment.", code="store_unavailable", headers=again
    )


def _http_response(error: HTTPException, request: Request) -> JSONResponse:
    invalid = f"Invalid URL ({request.method} {request.url.path})"
    match error.status_code:
        case 404:
            return error_response(404, invalid)
        case 405:
            return error_response(405, invalid, headers={"allow": ", ".join(_allowed(request))})
        case 413:
            return error_response(413, "The body is too large.", code="request_too_large")
        case status:
            return error_response(status, "The body cannot be read as JSON.")


def _allowed(request: Request) -> list[str]:
    """The methods that this path has: the framework names those of the first route only."""
    scopes = {method: {**request.scope, "method": method} for method in _METHODS}
    routes = request.app.routes
    return [
        method
        for method, scope in scopes.items()
        if any(route.matches(scope)[0] is Match.FULL for route in routes)
    ]


def describe_invalid(
    problems: Sequence[Mapping[str, Any]], body: Any, content_type: str | None
) -> tuple[str, str | None]:
    """(message, param) of what the framework found wrong with a request, in words for its sender.

    Args:
        problems: as pydantic lists them; a value that fits no branch of a union has one for each branch.
        body: what was sent, as far as it was JSON.
        content_type: as it was sent.
    """
    first = problems[0]
    kind, (where, *path) = first["type"], first["loc"]
    if kind == "json_invalid":
        return f"The body is not valid JSON: {first['ctx']['error']} at character {path[0]}.", None
    if where == "body" and not path:
        return _describe_body(kind, content_type), None
    param = _field_of(first, body)
    if kind == "extra_forbidden":
        return f"Unknown field `{param}`.", param
    if kind == "missing":
        return f"`{param}` is required.", param
    wrong = dict.fromkeys(_words(each) for each in problems if _field_of(each, body) == param)
    return f"`{param}`: {', or '.join(wrong)}.", param


def _field_of(problem: Mapping[str, Any], body: Any) -> str:
    """The field at fault, as its sender wrote it: a location also names branches of unions."""
    where, *path = problem["loc"]
    if where != "body":
        return str(path[0])
    field: list[str] = []
    for part in path:
        is_there = isinstance(body, dict) and part in body
        is_there |= isinstance(body, list) and isinstance(part, int) and part < len(body)
        if is_there:
            field.append(str(part))
            body = body[part]
        elif problem["type"] == "missing":
            field.append(str(part))
    return ".".join(field)


def _words(problem: Mapping[str, Any]) -> str:
    text = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return text[:1].lower() + text[1:]


def _describe_body(kind: str, content_type: str | None) -> str:
    if kind == "missing":
        return "The body is missing: a JSON object is needed."
    if "json" not in (content_type or "").lower():
        return "Send the body as JSON, with the header content-type: application/json."
    return "The body must be a JSON object."
