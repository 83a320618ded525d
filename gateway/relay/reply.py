"""A JSON reply, read once: is it one, and what did it use?"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.domain.usage import Usage
from gateway.relay.chunk import error_of, load_object, read_usage, text_of, tier_of

_ABSENT = msgspec.Raw()


class _Reply(msgspec.Struct):
    """Only what the gateway reads; the rest is checked to be JSON and skipped."""

    usage: Any = None
    service_tier: Any = None
    choices: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT


_decode = msgspec.json.Decoder(_Reply).decode


class Reply(msgspec.Struct, frozen=True):
    """A JSON reply. `usage` is None where it states none."""

    body: bytes
    usage: Usage | None
    service_tier: str | None

    def text(self) -> str:
        """What the model wrote, for an estimate where no usage is stated."""
        return text_of(load_object(self.body) or {})


def read_reply(body: bytes) -> Reply:
    """Check a 200 reply and read what the gateway needs of it.

    Raises:
        AttemptFailed: `bad_response`, for what is no JSON object or is an error despite its status.
    """
    try:
        reply = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise AttemptFailed(
            FailureClass.BAD_RESPONSE, "The upstream's answer is not a JSON object."
        ) from None
    if not reply.choices and not reply.data:
        error = error_of(load_object(body) or {})
        if error is not None:
            detail = "The upstream answered 200 with an error inside."
            raise AttemptFailed(FailureClass.BAD_RESPONSE, detail, error=error)
    tier = reply.service_tier
    return Reply(body, read_usage(reply.usage), None if tier is None else tier_of(tier))
