"""Everything that can go wrong with a call, split by whose fault it is.

    GatewayError
    ├── CallerError      the caller can mend it
    │   ├── BadKey  RouteNotFound  MethodNotAllowed  RouteNotAllowed
    │   ├── InvalidRequest  RequestTooLarge  EncodedBody  SlowBody
    │   ├── ModelNotFound  ModelNotAllowed  PinNotAllowed  NotAvailableYet  CacheMiss
    │   └── UpstreamRejected      the upstream refused this very request (400, 404, 413, 422)
    ├── LimitError       a bound of the key
    │   └── RateLimited  BudgetSpent
    ├── UpstreamError    an attempt, or all of them, failed
    │   ├── AttemptFailed         one attempt: carries a class of failure
    │   └── NoUpstream  UpstreamsFailed  AllRateLimited  UpstreamTimedOut
    └── InternalError    our own state forbids it
        └── Draining  Overloaded  StoreUnavailable  PriceUnknown

Errors carry facts, not HTTP: `edge/render.py` turns them into status, `type` and `code`.
"""

from __future__ import annotations

from enum import StrEnum


class FailureClass(StrEnum):
    """Classes of failure that `fallback_on` names."""

    CONNECT = "connect"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    MODEL_NOT_FOUND = "model_not_found"
    BAD_RESPONSE = "bad_response"
    CREDENTIAL = "credential"
    REJECTED = "rejected"  # the caller's own mistake as the upstream sees it: never a reason to move on


class Hint(StrEnum):
    """What more is known of a 429 than that it is one."""

    LOADING = "loading"  # a fine-tuned model that was not used for a while: the same call will work soon
    TOO_LARGE = "too_large"  # more than the credential's whole limit: it will never work there
    FULL = "full"  # we have all the calls in flight there that we may have


class GatewayError(Exception):
    """Any refusal or failure that a caller is told about. `str(error)` is safe to send to the caller."""

    param: str | None = None


class CallerError(GatewayError):
    """The caller can mend this."""


class BadKey(CallerError):
    """No key, or one that is unknown, expired or revoked."""


class RouteNotFound(CallerError):
    """No such route."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"Invalid URL ({method} {path})")


class MethodNotAllowed(RouteNotFound):
    """The route exists with other methods, listed in `allow`."""

    def __init__(self, method: str, path: str, allow: str) -> None:
        super().__init__(method, path)
        self.allow = allow


class NotAvailableYet(CallerError):
    """A documented route that this version does not have."""


class RouteNotAllowed(CallerError):
    """The key may not use this route."""


class InvalidRequest(CallerError):
    """The request cannot be read; `param` names the field at fault, if one is."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class RequestTooLarge(CallerError):
    """The body is over `server.max_body_bytes`."""


class EncodedBody(CallerError):
    """The body carries a content encoding."""


class SlowBody(CallerError):
    """The body did not arrive in time."""


class ModelNotFound(CallerError):
    """No alias and no servable model has this name."""

    param = "model"


class ModelNotAllowed(CallerError):
    """The key may not use this alias or model."""

    param = "model"


class PinNotAllowed(CallerError):
    """The key may not choose its upstream, or the upstream it chose is unknown."""


class CacheMiss(CallerError):
    """The caller wanted a kept answer or none, and there is none."""


class UpstreamRejected(CallerError):
    """The upstream refused this very request; its status and error pass on."""

    def __init__(self, status: int, body: dict[str, object]) -> None:
        super().__init__(str(body.get("message", "")))
        self.status = status
        self.body = body


class LimitError(GatewayError):
    """A bound of the key is reached."""


class RateLimited(LimitError):
    """A limit of the key is reached; `dimension` says which: "requests", "tokens" or "concurrency".

    `retry_after_s` is None where waiting does not help.
    """

    def __init__(self, message: str, dimension: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.dimension = dimension
        self.retry_after_s = retry_after_s


class BudgetSpent(LimitError):
    """The key's budget or credit does not cover this call. Waiting does not help."""


class UpstreamError(GatewayError):
    """An upstream did not serve."""


class AttemptFailed(UpstreamError):
    """One attempt failed before the commit point; `failure` says how, `status` what the upstream answered.

    `error` is the upstream's error object in the official shape, where it sent one. `hint` tells 429s apart.
    """

    def __init__(
        self,
        failure: FailureClass,
        detail: str,
        *,
        status: int | None = None,
        error: dict[str, object] | None = None,
        retry_after_s: float | None = None,
        hint: Hint | None = None,
    ) -> None:
        super().__init__(detail)
        self.failure = failure
        self.status = status
        self.error = error
        self.retry_after_s = retry_after_s
        self.hint = hint

    @property
    def cools_down(self) -> bool:
        """True where the target is better left alone for a while, by all calls."""
        return self.failure is FailureClass.RATE_LIMITED and self.hint is None


class NoUpstream(UpstreamError):
    """Nothing is left that could serve this model now; something may be in `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UpstreamsFailed(UpstreamError):
    """Every attempt failed."""


class UpstreamTimedOut(UpstreamError):
    """Every attempt failed, the last by a timeout."""


class AllRateLimited(UpstreamError):
    """Every attempt was rate limited by its upstream."""

    def __init__(self, message: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class InternalError(GatewayError):
    """The gateway's own state forbids it."""

    retry_after_s: float = 1.0


class Draining(InternalError):
    """This process takes no new calls."""


class Overloaded(InternalError):
    """No room for another call."""


class StoreUnavailable(InternalError):
    """The store is away and the answer depends on it."""


class PriceUnknown(InternalError):
    """The key has a budget, and no target that may serve has a known price."""


class StreamBroken(GatewayError):
    """A stream failed after the commit point; `code` goes into the error event."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
