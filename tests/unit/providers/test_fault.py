"""Exceptions as litellm raises them, told by name: status, type, code, words, and when to come back."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.providers.fault import Fault, fault_of


def raised(
    name: str, message: str = "No.", status: int | None = None, *bases: str, **facts: Any
) -> Exception:
    """An exception of a class of this name; `bases` are the names of those it derives from."""
    kind: type[Exception] = Exception
    for each in (*bases, name):
        kind = type(each, (kind,), {})
    error = kind(message)
    for fact, value in {"message": message, "status_code": status, **facts}.items():
        setattr(error, fact, value)
    return error


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (raised("RateLimitError", status=429), 429, "requests", "rate_limit_exceeded"),
        (raised("AuthenticationError", status=401), 401, "invalid_request_error", "invalid_api_key"),
        (raised("PermissionDeniedError", status=403), 403, "invalid_request_error", None),
        (raised("NotFoundError", status=404), 404, "invalid_request_error", "model_not_found"),
        (raised("BadRequestError", status=400), 400, "invalid_request_error", None),
        (
            raised("ContextWindowExceededError", "long", 400, "BadRequestError"),
            400,
            "invalid_request_error",
            "context_length_exceeded",
        ),
        (
            raised("ContentPolicyViolationError", "no", 400, "BadRequestError"),
            400,
            "invalid_request_error",
            "content_policy_violation",
        ),
        (
            raised("UnsupportedParamsError", "no", 400, "BadRequestError"),
            400,
            "invalid_request_error",
            "unsupported_parameter",
        ),
        (raised("UnprocessableEntityError", status=422), 422, "invalid_request_error", None),
        (raised("BadRequestError", status=413), 413, "invalid_request_error", None),
        (
            raised("LiteLLMUnknownProvider", "?", 400, "BadRequestError"),
            404,
            "invalid_request_error",
            "model_not_found",
        ),
        (raised("Timeout", status=408), 504, "server_error", "upstream_timeout"),
        (raised("ServiceUnavailableError", status=503), 503, "server_error", "server_is_overloaded"),
        (raised("InternalServerError", status=500), 500, "server_error", "upstream_error"),
        (raised("InternalServerError", status=529), 503, "server_error", "server_is_overloaded"),
        (raised("BadGatewayError", status=502), 502, "server_error", "upstream_error"),
        (raised("APIConnectionError", status=500), 502, "server_error", "upstream_error"),
        (raised("APIError", status=599), 599, "server_error", "upstream_error"),
        (raised("SomeProvidersError", status=400), 400, "invalid_request_error", None),
        (raised("SomeProvidersError", status=404), 404, "invalid_request_error", "model_not_found"),
        (raised("SomeProvidersError", status=429), 429, "requests", "rate_limit_exceeded"),
        (raised("SomeProvidersError", status=503), 503, "server_error", "upstream_error"),
        (ValueError("a bug"), 502, "server_error", "upstream_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_has_its_place(error: Exception, status: int, kind: str, code: str | None) -> None:
    fault = fault_of(error)
    told = fault.body["error"]
    assert (fault.status, told["type"], told["code"], told["param"]) == (status, kind, code, None)
    assert told["message"]


def test_the_one_inside_counts() -> None:
    inner = raised("RateLimitError", status=429)
    outer = raised("MidStreamFallbackError", "?", 503, "ServiceUnavailableError", original_exception=inner)
    assert fault_of(outer).status == 429


def test_a_fault_stays_what_it_is() -> None:
    fault = Fault(418, "short")
    assert fault_of(fault) is fault


@pytest.mark.parametrize("status", [400, 402, 403, 429])
def test_no_money_is_not_a_wait(status: int) -> None:
    message = "Your credit balance is too low to access the Anthropic API."
    fault = fault_of(raised("BadRequestError" if status < 429 else "RateLimitError", message, status))
    assert (fault.status, fault.body["error"]["code"]) == (429, "insufficient_quota")
    assert fault.headers == {}


def test_when_to_come_back_is_passed_on() -> None:
    response = SimpleNamespace(headers={"retry-after": "7", "server": "x"})
    assert fault_of(raised("RateLimitError", status=429, response=response)).headers == {"retry-after": "7"}
    assert fault_of(raised("BadRequestError", status=400, response=response)).headers == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "litellm.RateLimitError: AnthropicException - " + json.dumps({"error": {"message": "Slow."}}),
            "Slow.",
        ),
        ('litellm.X: b\'{"error": {"message": "Quoted."}}\'', "Quoted."),
        ("litellm.BadRequestError: BadRequestError: OpenAIException - plain", "plain"),
        ("litellm.APIConnectionError: AnthropicException - ", "The connection to the provider broke."),
        ("oops\nTraceback (most recent call last):\n  File secret.py", "oops"),
        ("{" * 50 + "no json", "{" * 50 + "no json"),
        ("key sk-secret-key is bad", "key *** is bad"),
        ("https://g.example/v1?key=AIzaABC&x=1 failed", "https://g.example/v1?key=***&x=1 failed"),
    ],
)
def test_the_message_is_the_providers_and_holds_no_key(text: str, said: str) -> None:
    assert fault_of(raised("BadRequestError", text, 400), "sk-secret-key").body["error"]["message"] == said


def test_a_long_message_is_cut() -> None:
    assert len(fault_of(raised("APIError", "x" * 100_000)).body["error"]["message"]) == 2000
