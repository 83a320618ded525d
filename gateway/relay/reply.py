"""A JSON reply, read once: is it one, and what did it use?"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.domain.usage import Usage
from gateway.relay.chunk import error_of, usage_of


class _Reply(msgspec.Struct):
    """Only what the gateway reads; the rest is checked to be JSON and skipped."""

    usage: Any = None
    error: Any = None
    object: Any = None
    type: Any = None
    choices: msgspec.Raw | None = None
    data: msgspec.Raw | None = None
    detail: Any = None


_decode = msgspec.json.Decoder(_Reply).decode


def read_reply(body: bytes) -> Usage | None:
    """Check a 200 reply and return its usage, None where it states none.

    Raises:
        AttemptFailed: `bad_response`, for what is no JSON object or is an error despite its status.
    """
    try:
        reply = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise AttemptFailed(
            FailureClass.BAD_RESPONSE, "The upstream's answer is not a JSON object."
        ) from None
    if reply.choices is None and reply.data is None:
        error = error_of(
            {"error": reply.error, "object": reply.object, "type": reply.type, "detail": reply.detail}
        )
        if error is not None or reply.detail is not None:
            raise AttemptFailed(
                FailureClass.BAD_RESPONSE, "The upstream answered 200 with an error inside.", error=error
            )
    return usage_of({"usage": reply.usage})
