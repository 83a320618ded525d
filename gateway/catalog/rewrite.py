"""A body made ready for one model at one upstream. Values the gateway does not touch stay bytes."""

from __future__ import annotations

from functools import lru_cache

from msgspec import Raw
from msgspec.json import Decoder, Encoder

from gateway.catalog.quirks import Adapt
from gateway.domain.call import CHAT, EMBEDDINGS, Call
from gateway.domain.plan import Candidate, Rewrite, Target

_encode = Encoder().encode
_fields = Decoder(dict[str, Raw]).decode
_CAPS = frozenset({"max_tokens", "max_completion_tokens"})
_NULL = Raw(b"null")
_INCLUDE_USAGE = Raw(b'{"include_usage":true}')


def body_for(
    call: Call,
    target: Target,
    candidate: Candidate,
    stream_usage: bool,
    cap: int | None = None,
    adapt: Adapt | None = None,
) -> bytes:
    """The JSON body that asks `candidate` what the client asked of the alias.

    Order: defaults of the alias where the client is silent, the rewrite, the fields that choose an
    adapter, the model id (or its deployment), the quirks of the upstream, and the request for usage on
    streams.

    Args:
        call: what the client sent.
        target: what the name means; its defaults hold whoever serves.
        candidate: who is asked.
        stream_usage: the upstream accepts `stream_options.include_usage`.
        cap: on output tokens, filled in where the caller names none.
        adapt: what the upstream's quirks make of a body, if it has any.
    """
    fields = fields_for(call, target, candidate, cap)
    fields["model"] = _name(candidate.deployment or candidate.model)
    if adapt is not None:
        adapt(fields, call.route)
    if call.stream:
        if stream_usage:
            fields["stream_options"] = _with_usage(fields.get("stream_options"))
        else:
            fields.pop("stream_options", None)
    return _encode(fields)


def fields_for(call: Call, target: Target, candidate: Candidate, cap: int | None = None) -> dict[str, Raw]:
    """What `candidate` is asked, but for the model id and the request for usage; arguments as above."""
    fields = call.fields.copy()
    for name, value in target.defaults:
        fields.setdefault(name, value)
    if cap is not None and not _names_cap(fields) and call.route is not EMBEDDINGS:
        fields["max_completion_tokens" if call.route is CHAT else "max_tokens"] = Raw(str(cap).encode())
    if candidate.rewrite is not None:
        _apply(candidate.rewrite, fields)
    if candidate.adapter:
        fields.update(candidate.adapter)
    return fields


@lru_cache(maxsize=1024)  # the same few for nearly all bodies
def _name(model: str) -> Raw:
    return Raw(_encode(model))


def _names_cap(fields: dict[str, Raw]) -> bool:
    """Null is as if absent: upstreams read it so, and it must not undo a cap."""
    return any(bytes(fields.get(name, _NULL)) != b"null" for name in _CAPS)


def _with_usage(options: Raw | None) -> Raw:
    """Merge, never replace, the client's `stream_options`."""
    if options is None or bytes(options) == b"null":
        return _INCLUDE_USAGE
    merged = _fields(options)
    merged["include_usage"] = Raw(b"true")
    return Raw(_encode(merged))


def _apply(rewrite: Rewrite, fields: dict[str, Raw]) -> None:
    for name in rewrite.drop:
        fields.pop(name, None)
    for old, new in rewrite.rename:
        value = fields.pop(old, None)
        if value is not None:
            fields.setdefault(new, value)
    fields.update(rewrite.set)
    messages = fields.get("messages")
    if rewrite.system_message is not None and messages is not None:
        fields["messages"] = Raw(_in_front(rewrite.system_message, bytes(messages)))


def _in_front(message: bytes, messages: bytes) -> bytes:
    inside = messages[messages.index(b"[") + 1 :]
    return b"[" + message + (b"," if inside.strip() != b"]" else b"") + inside
