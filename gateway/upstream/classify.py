"""What an upstream's refusal means: a class of failure, by status and `code`, never by prose."""

from __future__ import annotations

from typing import Any

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.relay.chunk import error_of, load_object

_CALLERS_OWN = frozenset({400, 404, 413, 422})
_MODEL_GONE = frozenset({"model_not_found", "DeploymentNotFound"})
_SPENT = frozenset({"insufficient_quota", "credit_balance_exhausted"})


def refusal(status: int, body: bytes, retry_after: bytes | None) -> AttemptFailed:
    """The failure that an answer other than 200 is.

    Args:
        status: of the answer.
        body: as far as it was read.
        retry_after: the header's value, seconds.
    """
    error = _error_in(body)
    code = error["code"] if error else None
    failure = _class_of(status, code, error)
    if error is None and failure is FailureClass.REJECTED:
        error = {
            "message": f"The upstream refused the request with status {status}.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    return AttemptFailed(
        failure,
        f"the upstream answered {status}" + (f" {code}" if code else ""),
        status=status,
        error=error,
        retry_after_s=_seconds(retry_after),
    )


def _class_of(status: int, code: str | None, error: dict[str, Any] | None) -> FailureClass:
    if status in (403, 404) and (code in _MODEL_GONE or _is_unknown_adapter(status, error)):
        return FailureClass.MODEL_NOT_FOUND
    if status in _CALLERS_OWN:
        return FailureClass.REJECTED
    if status in (401, 402, 403) or (status == 429 and (code in _SPENT or _type_of(error) in _SPENT)):
        return FailureClass.CREDENTIAL
    if status == 429:
        return FailureClass.RATE_LIMITED
    if status >= 500 or status in (408, 409):
        return FailureClass.SERVER_ERROR
    return FailureClass.BAD_RESPONSE


def _is_unknown_adapter(status: int, error: dict[str, Any] | None) -> bool:
    """The words of vLLM for an adapter it does not have: numeric code 404, type NotFoundError."""
    return status == 404 and error is not None and error["code"] == "404" and error["type"] == "NotFoundError"


def _type_of(error: dict[str, Any] | None) -> str | None:
    return error["type"] if error else None


def _error_in(body: bytes) -> dict[str, Any] | None:
    document = load_object(body)
    return error_of(document) if document is not None else None


def _seconds(value: bytes | None) -> float | None:
    try:
        seconds = float(value) if value is not None else None
    except ValueError:
        return None
    return seconds if seconds is not None and 0 < seconds < 86400 else None
