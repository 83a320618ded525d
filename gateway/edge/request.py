"""Bodies and headers of callers, read once and checked. Everything the gateway does not know passes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Raw

from gateway.domain.cache import CacheAsk, Directive
from gateway.domain.call import CHAT, COMPLETIONS, DEFAULT_OPTIONS, EMBEDDINGS, Call, CallOptions, CallRoute
from gateway.domain.errors import InvalidRequest

_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_text = msgspec.json.Decoder(str).decode
_any = msgspec.json.Decoder().decode

_KINDS = {
    "string": rb'"',
    "array": rb"\[",
    "object": rb"\{",
    "boolean": rb"[tf]",
    "number": rb"[-0-9]",
}
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_INNERMOST = re.compile(rb"\[\]|\{\}")
_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _fits(*kinds: str) -> re.Pattern[bytes]:
    return re.compile(rb"(?:" + rb"|".join(_KINDS[kind] for kind in kinds) + rb")")


_SAMPLING = {
    "stream": ("boolean",),
    "stream_options": ("object",),
    "n": ("number",),
    "max_tokens": ("number",),
    "temperature": ("number",),
    "top_p": ("number",),
    "presence_penalty": ("number",),
    "frequency_penalty": ("number",),
    "seed": ("number",),
    "stop": ("string", "array"),
    "user": ("string",),
    "logit_bias": ("object",),
}
_TYPES: dict[CallRoute, dict[str, tuple[str, ...]]] = {
    CHAT: _SAMPLING
    | {
        "messages": ("array",),
        "max_completion_tokens": ("number",),
        "tools": ("array",),
        "tool_choice": ("string", "object"),
        "parallel_tool_calls": ("boolean",),
        "response_format": ("object",),
        "logprobs": ("boolean",),
        "top_logprobs": ("number",),
        "metadata": ("object",),
    },
    COMPLETIONS: _SAMPLING | {"prompt": ("string", "array"), "logprobs": ("number",), "best_of": ("number",)},
    EMBEDDINGS: {
        "input": ("string", "array"),
        "dimensions": ("number",),
        "encoding_format": ("string",),
        "user": ("string",),
    },
}
_CHECKS = {
    route: {name: _fits(*kinds).match for name, kinds in types.items()} for route, types in _TYPES.items()
}
_REQUIRED = {CHAT: "messages", COMPLETIONS: None, EMBEDDINGS: "input"}
_MESSAGES = re.compile(rb"\[\s*(\]|\{)?")


class _Usual(msgspec.Struct, frozen=True):
    """What tells that nothing is wrong with the fields of nearly any call."""

    needed: str
    fits: Mapping[str, Callable[[Raw], object]]


_USUAL = {  # by the route's name, which is hashed once
    CHAT.name: _Usual("messages", _CHECKS[CHAT] | {"messages": re.compile(rb"\[\s*\{").match}),
    COMPLETIONS.name: _Usual("model", _CHECKS[COMPLETIONS]),
    EMBEDDINGS.name: _Usual("input", _CHECKS[EMBEDDINGS]),
}
_NULL, _TRUE = Raw(b"null"), Raw(b"true")


def parse_call(route: CallRoute, body: bytes, max_depth: int) -> Call:
    """Read a body into a `Call`. One parse: values stay bytes, top-level types are told by how they begin.

    Raises:
        InvalidRequest: what is wrong, and with which field.
    """
    fields = _parse(body, max_depth)
    model = fields.get("model")
    if model is None:
        raise InvalidRequest("You must provide a model parameter.", "model")
    try:
        name = _text(model)
    except msgspec.ValidationError:
        raise _wrong_type("model", "string") from None
    if not name:
        raise InvalidRequest("You must provide a model parameter.", "model")
    usual = _USUAL[route.name]
    fits, is_usual = usual.fits, usual.needed in fields
    for field, value in fields.items():
        check = fits.get(field)
        if check is not None and not check(value):
            is_usual = False
    if not is_usual:
        _check(route, fields)
    stream = "stream" in fields and fields["stream"] == _TRUE
    wants_usage = stream and _wants_usage(fields.get("stream_options"))
    return Call(route, fields, name, stream, wants_usage, _choices(fields["n"]) if "n" in fields else 1)


def _check(route: CallRoute, fields: Mapping[str, Raw]) -> None:
    """Say what is wrong with fields that are not of the usual kind; null is as if absent."""
    checks = _CHECKS[route]
    for field, value in fields.items():
        check = checks.get(field)
        if check is not None and not check(value) and value != _NULL:
            raise _wrong_type(field, " or ".join(_TYPES[route][field]))
    required = _REQUIRED[route]
    if required is not None and fields.get(required, _NULL) == _NULL:
        raise InvalidRequest(f"Missing required parameter: '{required}'.", required)
    if route is CHAT:
        _check_messages(fields["messages"])


def _parse(body: bytes, max_depth: int) -> dict[str, Raw]:
    try:
        body.isascii() or body.decode()
        if body.count(b"[") + body.count(b"{") > max_depth and _depth(body, max_depth) > max_depth:
            raise InvalidRequest(f"The request body is nested deeper than {max_depth} levels.")
        return _fields(body)
    except msgspec.ValidationError:
        raise InvalidRequest("The request body must be a JSON object.") from None
    except RecursionError:
        raise InvalidRequest(f"The request body is nested deeper than {max_depth} levels.") from None
    except msgspec.DecodeError as error:
        if not body.strip():
            raise InvalidRequest("The request body is empty; send a JSON object.") from None
        raise InvalidRequest(f"We could not parse the JSON body of your request: {error}") from None
    except UnicodeDecodeError:
        raise InvalidRequest("The request body is not valid UTF-8.") from None


def _depth(body: bytes, limit: int) -> int:
    """How deep the brackets nest, counted up to `limit` + 1. Strings go first; all of it runs in C.

    Each pass removes the innermost pairs, so what is left after `limit` passes is deeper than that.
    """
    brackets = _STRING.sub(b"", body).translate(None, _BRACKETS)
    for level in range(limit + 1):
        if not brackets:
            return level
        inner = _INNERMOST.sub(b"", brackets)
        if len(inner) == len(brackets):
            return level  # unbalanced: the parser will say so
        brackets = inner
    return limit + 1


def _check_messages(messages: Raw) -> None:
    begins = _MESSAGES.match(messages)
    kind = begins[1] if begins else None
    if kind == b"]":
        raise InvalidRequest(
            "Invalid 'messages': empty array. Expected an array with minimum length 1.", "messages"
        )
    if kind is None:
        raise _wrong_type("messages[0]", "object")


def _wants_usage(options: Raw | None) -> bool:
    if options is None or options == _NULL:
        return False
    return _any(options).get("include_usage") is True


def _choices(n: Raw) -> int:
    """How many answers are asked for, at least 1: what is out of range the upstream refuses."""
    if n == _NULL:
        return 1
    return int(min(max(1.0, float(bytes(n))), 1e6))


def _wrong_type(field: str, kinds: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid type for '{field}': expected {kinds}.", field)


def options_of(headers: Mapping[bytes, bytes]) -> CallOptions:
    """What the `x-tunegate-*` headers ask of the gateway.

    Raises:
        InvalidRequest: a value that means nothing.
    """
    fallback = headers.get(b"x-tunegate-fallback")
    pin = headers.get(b"x-tunegate-upstream")
    timeout = headers.get(b"x-tunegate-timeout-s")
    cache, cache_ttl = headers.get(b"x-tunegate-cache"), headers.get(b"x-tunegate-cache-ttl")
    if fallback is None and pin is None and timeout is None and cache is None and cache_ttl is None:
        return DEFAULT_OPTIONS
    if fallback not in (None, b"never"):
        raise InvalidRequest(
            "The header x-tunegate-fallback knows only the value `never`.", "x-tunegate-fallback"
        )
    return CallOptions(
        fallback=fallback is None,
        pin=None if pin is None else pin.decode("latin-1"),
        timeout_s=None if timeout is None else _seconds(timeout),
        cache=None if cache is None and cache_ttl is None else _cache_ask(cache, cache_ttl),
    )


def _cache_ask(directive: bytes | None, ttl: bytes | None) -> CacheAsk:
    if directive is not None and directive not in _DIRECTIVES:
        raise InvalidRequest(
            "The header x-tunegate-cache knows the values `no-cache`, `no-store` and `only`.",
            "x-tunegate-cache",
        )
    if ttl is not None and not _TTL.fullmatch(ttl):
        raise InvalidRequest(
            "The header x-tunegate-cache-ttl must be a whole number of seconds above 0.",
            "x-tunegate-cache-ttl",
        )
    return CacheAsk(None if directive is None else _DIRECTIVES[directive], None if ttl is None else int(ttl))


_DIRECTIVES: Mapping[bytes, Directive] = {b"no-cache": "no-cache", b"no-store": "no-store", b"only": "only"}
_TTL = re.compile(rb"(?=.*[1-9])[0-9]{1,9}")


def _seconds(value: bytes) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= 86400.0:  # NaN fails this too
        raise InvalidRequest(
            "The header x-tunegate-timeout-s must be a number of seconds above 0.", "x-tunegate-timeout-s"
        )
    return seconds
