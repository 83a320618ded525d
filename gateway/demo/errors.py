"""Errors in the official shape: a status, and a body with all four keys."""

from __future__ import annotations

from typing import Any

_KINDS: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", None),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    503: ("service_unavailable_error", "server_is_overloaded"),
}


class ApiError(Exception):
    """An answer that is an error. `headers` go out beside the body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": kind, "param": param, "code": code}
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return {"error": self.error}


def unknown_model(model: str, param: str | None = None) -> ApiError:
    """404 for an id that is not served here."""
    return ApiError(
        404,
        f"The model `{model}` does not exist or you do not have access to it.",
        param=param,
        code="model_not_found",
    )


def on_demand(status: int) -> ApiError:
    """The error that a `demo:error` directive asks for, with the type and code this status usually has."""
    kind, code = _KINDS.get(status, ("invalid_request_error" if status < 500 else "server_error", None))
    headers = {"retry-after": "1", "retry-after-ms": "1000"} if status in (429, 503) else {}
    return ApiError(
        status,
        f"Simulated error {status}, as the message asked for.",
        kind=kind,
        code=code,
        headers=headers,
    )
