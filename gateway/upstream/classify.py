"""What an upstream's refusal means: a class of failure, by status and `code`, never by prose.

Two kinds of 429 are told apart by their words, as they have no code of their own: a fine-tuned model that is
still being loaded, and a request larger than the whole limit. A miss costs a wait, no wrong answer.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from gateway.domain.errors import AttemptFailed, FailureClass, Hint
from gateway.relay.chunk import error_of, load_object
from gateway.upstream import rate_headers

_CALLERS_OWN = frozenset({400, 404, 413, 422})
_MODEL_GONE = frozenset({"model_not_found", "DeploymentNotFound"})
_A_DAY_S = 86400.0
_SPENT = frozenset({"insufficient_quota", "credit_balance_exhausted"})


class Answer(Protocol):
    """The head of an answer."""

    @property
    def status(self) -> int:
        """Its status."""

    def header(self, name: bytes) -> bytes | None:
        """A header by its lower-case name."""


def refusal(answer: Answer, body: bytes, now: float) -> AttemptFailed:
    """The failure that an answer other than 200 is.

    Args:
        body: as far as it was read.
        now: unix seconds, for a `retry-after` that is a date.
    """
    status = answer.status
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
        f"the upstream answered {status}",
        status=status,
        error=error,
        retry_after_s=_wait(answer, now, failure),
        hint=_hint(error) if failure is FailureClass.RATE_LIMITED else None,
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


def _hint(error: dict[str, Any] | None) -> Hint | None:
    message = str(error["message"]).lower() if error else ""
    if "still being loaded" in message:
        return Hint.LOADING
    return Hint.TOO_LARGE if message.startswith("request too large") else None


def _wait(answer: Answer, now: float, failure: FailureClass) -> float | None:
    """Seconds that the upstream asks to wait, by the first header that says so; None where none does."""
    in_ms = _number(answer.header(b"retry-after-ms"))
    if in_ms is not None:
        return _sane(in_ms / 1000)
    raw = answer.header(b"retry-after")
    seconds = _number(raw)
    if seconds is None and raw is not None:
        seconds = _until(raw.decode("latin-1"), now)
    if seconds is None and failure is FailureClass.RATE_LIMITED:
        seconds = rate_headers.wait_s(answer)
    return _sane(seconds)


def _number(value: bytes | None) -> float | None:
    try:
        return float(value) if value is not None else None
    except ValueError:
        return None


def _until(date: str, now: float) -> float | None:
    try:
        parsed = parsedate_to_datetime(date)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None


def _sane(seconds: float | None) -> float | None:
    return seconds if seconds is not None and 0 < seconds < _A_DAY_S else None
