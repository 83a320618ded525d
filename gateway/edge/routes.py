"""The data plane's routes, as data. A test holds `docs/openapi/data.json` equal to them."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.call import CHAT, COMPLETIONS, EMBEDDINGS, CallRoute
from gateway.domain.errors import MethodNotAllowed, RouteNotFound


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the data plane.

    Args:
        name: as virtual keys allow it; None for routes every key may use.
        methods: that it knows; empty where any method meets the same answer.
        call: what it calls, for routes that call a model.
        is_built: False for a documented route that this version does not have.
    """

    name: str | None
    methods: tuple[str, ...] = ()
    call: CallRoute | None = None
    is_built: bool = True


MODELS = Route("models", ("GET",))
MODEL = Route("models", ("GET",))
KEY = Route(None, ("GET",))

EXACT = {
    "/v1/chat/completions": Route("chat.completions", ("POST",), CHAT),
    "/v1/completions": Route("completions", ("POST",), COMPLETIONS),
    "/v1/embeddings": Route("embeddings", ("POST",), EMBEDDINGS),
    "/v1/models": MODELS,
    "/v1/feedback": Route("feedback", is_built=False),
    "/v1/key": KEY,
}
MODEL_PREFIX = "/v1/models/"
NOT_BUILT = {
    "/v1/responses": "responses",
    "/v1/moderations": "moderations",
    "/v1/images": "images",
    "/v1/audio": "audio",
    "/v1/files": "files",
    "/v1/uploads": "uploads",
    "/v1/fine_tuning": "fine_tuning",
    "/v1/batches": "batches",
}
OPEN = ("/healthz", "/readyz")


def match(method: str, path: str) -> Route:
    """The route of a request.

    Raises:
        RouteNotFound: no route has this path.
        MethodNotAllowed: the path is known with other methods.
    """
    route = EXACT.get(path)
    if route is None:
        is_model = path.startswith(MODEL_PREFIX) and path != MODEL_PREFIX
        route = MODEL if is_model else _not_built(path)
    if route is None:
        raise RouteNotFound(method, path)
    if route.methods and method not in route.methods:
        raise MethodNotAllowed(method, path, ", ".join(route.methods))
    return route


def _not_built(path: str) -> Route | None:
    prefix = "/".join(path.split("/", 3)[:3])
    name = NOT_BUILT.get(prefix)
    return None if name is None else Route(name, is_built=False)
