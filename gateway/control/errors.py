"""The one table from errors to HTTP on the control plane, in the official shape with all four keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.config import ConfigError, Problem
from gateway.domain.errors import (
    BadKey,
    CallerError,
    GatewayError,
    InvalidRequest,
    ModelNotAllowed,
    ModelNotFound,
    NotAvailableYet,
)
from gateway.store.errors import StoreAway, StoreError

log = structlog.get_logger(__name__)

_SERVER_ERROR = "server_error"
_INVALID = "invalid_request_error"


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


def answer_to(error: Exception, request: Request) -> JSONResponse:  # noqa: C901, PLR0911  # a table has as many ways out as rows
    """The answer to an error, by the table of this module."""
    match error:
        case BadKey():
            bearer = {"www-authenticate": "Bearer"}
            return error_response(401, str(error), code="invalid_api_key", headers=bearer)
        case ModelNotFound():
            return error_response(404, str(error), code="model_not_found", param=error.param)
        case ModelNotAllowed():
            return error_response(403, str(error), code="model_not_allowed", param=error.param)
        case NotFound() | NotAvailableYet():
            return error_response(404, str(error), param=error.param)
        case Conflict():
            return error_response(409, str(error))
        case InvalidRequest():
            return error_response(400, str(error), param=error.param)
        case RequestValidationError():
            message, param = describe_invalid(error.errors(), request.headers.get("content-type"))
            return error_response(400, message, param=param)
        case ConfigError():
            return _config_response(error)
        case StoreError():
            return _store_response(error)
        case HTTPException():
            return _http_response(error, f"{request.method} {request.url.path}")
        case _:
            return internal_error_response()


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


def _http_response(error: HTTPException, url: str) -> JSONResponse:
    match error.status_code:
        case 404 | 405:
            return error_response(error.status_code, f"Invalid URL ({url})", headers=error.headers)
        case 413:
            return error_response(413, "The body is too large.", code="request_too_large")
        case status:
            return error_response(status, "The body cannot be read as JSON.")


def describe_invalid(
    problems: Sequence[Mapping[str, Any]], content_type: str | None
) -> tuple[str, str | None]:
    """(message, param) of what the framework found wrong with a request, in words for its sender."""
    problem = problems[0]
    where, *path = problem["loc"]
    kind, text = problem["type"], str(problem["msg"])
    if kind == "json_invalid":
        return f"The body is not valid JSON: {problem['ctx']['error']} at character {path[0]}.", None
    if where == "body" and not path:
        return _describe_body(kind, content_type), None
    param = ".".join(str(part) for part in path)
    if kind == "extra_forbidden":
        return f"Unknown field `{param}`.", param
    if kind == "missing":
        return f"`{param}` is required.", param
    text = text.removeprefix("Value error, ")
    return f"`{param}`: {text[:1].lower() + text[1:]}.", param


def _describe_body(kind: str, content_type: str | None) -> str:
    if kind == "missing":
        return "The body is missing: a JSON object is needed."
    if "json" not in (content_type or "").lower():
        return "Send the body as JSON, with the header content-type: application/json."
    return "The body must be a JSON object."
