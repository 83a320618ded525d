"""One request as the gateway understands it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from msgspec import Raw

from gateway.domain.cache import CacheAsk


@dataclass(frozen=True, slots=True)
class CallRoute:
    """A data-plane route that calls a model.

    Args:
        name: as virtual keys allow it, such as "chat.completions".
        path: below `/v1`, the same at every upstream, such as "/chat/completions".
    """

    name: str
    path: str


CHAT = CallRoute("chat.completions", "/chat/completions")
COMPLETIONS = CallRoute("completions", "/completions")
EMBEDDINGS = CallRoute("embeddings", "/embeddings")


class Call(msgspec.Struct, frozen=True):
    """A parsed body. Fields the gateway does not know stay as the bytes they came as.

    Args:
        fields: every top-level field, its value unparsed.
        model: the name the client asked for, an alias or a model id.
        stream: the client wants server-sent events.
        wants_usage: the client asked for the usage chunk of a stream.
        choices: `n`, how many answers are asked for.
    """

    route: CallRoute
    fields: dict[str, Raw]
    model: str
    stream: bool = False
    wants_usage: bool = False
    choices: int = 1


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What the client asks of the gateway itself, by `x-tunegate-*` headers.

    Args:
        fallback: False where the first target alone may serve.
        pin: the only upstream that may serve.
        timeout_s: bound on the whole call.
        cache: what it asks of the response cache.
    """

    fallback: bool = True
    pin: str | None = None
    timeout_s: float | None = None
    cache: CacheAsk | None = None


DEFAULT_OPTIONS = CallOptions()
