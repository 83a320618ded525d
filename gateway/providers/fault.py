"""What went wrong at a provider, in the words and with the status of the official API."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_PREFIX = re.compile(r"^(?:litellm\.)?\w*(?:Error|Exception|Timeout)\s*(?::|-)")
_QUERY_KEY = re.compile(r"([?&]key=)[^&\s'\"]+")
_LONGEST = 2000
_DECODER = json.JSONDecoder()
_NO_MONEY = ("credit balance is too low", "insufficient_quota", "exceeded your current quota, please check")

_KINDS: Mapping[str, tuple[int | None, str, str | None]] = {
    # class: status (None = its own), type, code; a class stands before those it derives from
    "ContextWindowExceededError": (400, "invalid_request_error", "context_length_exceeded"),
    "ContentPolicyViolationError": (400, "invalid_request_error", "content_policy_violation"),
    "UnsupportedParamsError": (400, "invalid_request_error", "unsupported_parameter"),
    "LiteLLMUnknownProvider": (404, "invalid_request_error", "model_not_found"),
    "PaymentRequiredError": (402, "insufficient_quota", "insufficient_quota"),
    "AuthenticationError": (401, "invalid_request_error", "invalid_api_key"),
    "PermissionDeniedError": (403, "invalid_request_error", None),
    "NotFoundError": (404, "invalid_request_error", "model_not_found"),
    "UnprocessableEntityError": (422, "invalid_request_error", None),
    "RateLimitError": (429, "requests", "rate_limit_exceeded"),
    "BadRequestError": (400, "invalid_request_error", None),
    "Timeout": (504, "server_error", "upstream_timeout"),
    "APITimeoutError": (504, "server_error", "upstream_timeout"),
    "APIResponseValidationError": (502, "server_error", "upstream_error"),
    "ServiceUnavailableError": (503, "server_error", "server_is_overloaded"),
    "BadGatewayError": (502, "server_error", "upstream_error"),
    "InternalServerError": (None, "server_error", "upstream_error"),
    "APIConnectionError": (502, "server_error", "upstream_error"),
    "APIError": (None, "server_error", "upstream_error"),
}

_BY_STATUS = {
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    408: "Timeout",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}


class Fault(Exception):
    """An answer that is no answer: status, the official error, and when to come back.

    Args:
        status: HTTP status, 400 to 599.
        message: for the caller.
        headers: that go with it; names in lower case.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body: dict[str, Any] = {
            "error": {"message": message, "type": kind, "param": param, "code": code}
        }


def fault_of(error: BaseException, secret: str | None = None) -> Fault:
    """The fault that an exception of litellm, or any other, means.

    It is told by the names of its classes, so that nothing of litellm is needed here. `secret`, the
    credential of the call, is kept out of the message.
    """
    if isinstance(error, Fault):
        return error
    if isinstance(cause := getattr(error, "original_exception", None), Exception):
        return fault_of(cause, secret)
    own = getattr(error, "status_code", None)
    names = [each.__name__ for each in type(error).__mro__]
    if isinstance(own, int) and 400 <= own < 500:  # of a class of the provider's own, only the status tells
        names.append(_BY_STATUS.get(own, "BadRequestError"))
    known = next((name for name in names if name in _KINDS), "APIError")
    status, kind, code = _KINDS[known]
    if status is None:
        status = own if isinstance(own, int) and 500 <= own < 600 else 502
    elif status == 400 and own in {402, 413}:
        status = own
    if own == 529:  # "overloaded" in the words of Anthropic
        status, code = 503, "server_is_overloaded"
    message = message_of(error, secret)
    if status in {400, 402, 403, 429} and any(words in message for words in _NO_MONEY):
        return Fault(429, message, kind="insufficient_quota", code="insufficient_quota")
    return Fault(
        status, message, kind=kind, code=code, headers=_waiting(error) if status in {429, 503} else {}
    )


def message_of(error: BaseException, secret: str | None = None) -> str:
    """The provider's own sentence where the exception carries one, without our credential."""
    text = str(getattr(error, "message", None) or error) or type(error).__name__
    text = text.partition("\nTraceback")[0]
    said = _own_words(text)
    if said is None:
        said = text.strip()
        while (shorter := _PREFIX.sub("", said).strip()) != said:
            said = shorter
    said = said or "The connection to the provider broke."
    if secret:
        said = said.replace(secret, "***")
    return _QUERY_KEY.sub(r"\1***", said)[:_LONGEST]


def _own_words(text: str) -> str | None:
    """The message inside the provider's JSON, which litellm quotes behind words of its own."""
    start = text.find("{")
    while start != -1:
        try:
            document, _ = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            document = None
        error = document.get("error", document) if isinstance(document, dict) else None
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            return str(error["message"])
        start = text.find("{", start + 1)
    return None


def _waiting(error: BaseException) -> dict[str, str]:
    """When to come back, as the provider's own headers say."""
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None) or getattr(error, "litellm_response_headers", None) or {}
    found = {name: headers.get(name) for name in ("retry-after", "retry-after-ms")}
    return {name: str(value) for name, value in found.items() if value}
