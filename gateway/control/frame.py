"""What stands around every request: its id, our headers, the admin key, the body cap, the last catch.

Pure ASGI, so that nothing is buffered. Every path is closed except those named in `open_paths`, routes that
do not exist too: who has no key learns nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.control.admin_key import AdminAuth
from gateway.control.errors import answer_to
from gateway.domain.errors import BadKey, RateLimited
from gateway.store.errors import StoreError

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 1024 * 1024
"""No key and no alias comes near it."""

_HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",  # the last three do not fall back to the first (CSP level 3, section 6.1)
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}


class Frame:
    """Wraps the app of the control plane.

    Args:
        open_paths: exact paths that need no admin key.
    """

    def __init__(self, app: ASGIApp, auth: AdminAuth, open_paths: Collection[str]) -> None:
        self._app = app
        self._auth = auth
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":  # lifespan; websockets are closed by the framework, which has none
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(16)}"
        has_begun = False

        async def framed(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._serve(scope, receive, framed)
            except Exception as error:  # the task boundary: a bug is logged here, and only its id goes out
                log.exception("a request failed", method=scope["method"], path=scope["path"])
                if not has_begun:
                    await answer_to(error, Request(scope))(scope, receive, framed)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in self._open_paths:
            try:
                await self._auth.check(Headers(scope=scope).get("authorization"), scope.get("client"))
            except (BadKey, RateLimited, StoreError) as refused:
                await answer_to(refused, Request(scope))(scope, receive, send)
                return
        await self._app(scope, _bounded(receive), send)


def _bounded(receive: Receive) -> Receive:
    """`receive`, which raises the framework's 413 once the body is too large."""
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413)
        return message

    return receive_bounded
