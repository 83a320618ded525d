"""The data plane's application: the order of checks, and the one place where errors become replies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec
import structlog

from gateway.auth.keyring import Keyring, Proof
from gateway.cached_calls import Work
from gateway.domain.call import CallOptions
from gateway.domain.errors import (
    GatewayError,
    MethodNotAllowed,
    NotAvailableYet,
    Overloaded,
    RouteNotAllowed,
)
from gateway.domain.facts import Facts
from gateway.domain.principal import Principal
from gateway.domain.trace import TraceContext, parse_trace
from gateway.edge.caller import Caller
from gateway.edge.exchange import Exchange
from gateway.edge.head import Head
from gateway.edge.headers import lines, reply_headers
from gateway.edge.key_status import KeyStatus
from gateway.edge.models import get_model, list_models
from gateway.edge.protocol import RequestIds
from gateway.edge.render import JSON, ErrorReply, render, render_unexpected
from gateway.edge.request import options_of, parse_call
from gateway.edge.routes import KEY, MODEL_PREFIX, MODELS, OPEN, Route, match
from gateway.pipeline import CallService
from gateway.snapshot import Snapshots

log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode
_CLIENT_LEFT = 499
_TOO_MANY = "This gateway has all the connections that it may have; try again later."


class Readiness(Protocol):
    """Whether this process should get traffic."""

    def answer(self) -> tuple[int, dict[str, Any]]:
        """Status and body of `/readyz`."""


class Observer(Protocol):
    """Hears of every request, for metrics and the access log."""

    def ended(self, facts: Facts, now: float) -> None:
        """It is over, whatever came of it; `now` is a reading of the clock."""


class Tracing(Protocol):
    """Makes traces of requests."""

    def begin(self, parent: bytes | None, state: bytes | None) -> TraceContext:
        """The trace of a request; the arguments are its `traceparent` and `tracestate`."""


class DataPlane:
    """The application of a worker: it serves the exchanges that `edge.protocol` makes."""

    def __init__(
        self,
        service: CallService,
        keyring: Keyring,
        snapshots: Snapshots,
        key_status: KeyStatus,
        readiness: Readiness,
        observer: Observer,
        ids: RequestIds,
        clock: Callable[[], float],
        tracing: Tracing | None = None,
    ) -> None:
        self._service = service
        self._keyring = keyring
        self._snapshots = snapshots
        self._key_status = key_status
        self._readiness = readiness
        self._observer = observer
        self._ids = ids
        self._clock = clock
        self._tracing = tracing
        server = snapshots.current.settings.server  # it needs a restart to change
        self._max_body_bytes, self._body_timeout_s = server.max_body_bytes, server.body_timeout_s
        self._max_json_depth = server.max_json_depth
        self.in_flight = 0

    async def serve(self, exchange: Exchange) -> None:
        """Serve one request: who calls, where to, with what. Every outcome is answered and told."""
        head = exchange.head
        facts = Facts(self._ids.next(), exchange.started_at, head.method, head.path)
        work: Work | None = None
        self.in_flight += 1
        try:
            route = head.route
            if route is None and head.path in OPEN:
                self._health(exchange, facts)
                return
            if head.is_noted or self._tracing is not None:
                self._note_headers(head.fields, facts)
            remembered = self._keyring.remembered(head.proof or self._proof_of(head))
            principal = remembered or await self._authenticate(head, exchange)
            facts.key_id = principal.key_id
            if route is not None and head.principal is principal:
                facts.route = route.name or facts.route
            else:
                route = _route_of(head, principal, facts)
            if route.call is None:
                await self._answer(exchange, route, principal, facts)
                return
            if exchange.protocol.is_spare:
                raise Overloaded(_TOO_MANY)  # noqa: TRY301  # answered below, like the others' refusals
            if exchange.more_body:
                await exchange.receive(self._max_body_bytes, self._body_timeout_s)
            body = exchange.whole_body(self._max_body_bytes)
            call = parse_call(route.call, body, self._max_json_depth)
            options, caller = head.options or _options_of(head), Caller(exchange, facts, self._clock)
            work = self._service.begin(call, options, principal, caller, facts, exchange.task)
            await self._service.handle(work)
        except BaseException as error:  # the edge: nothing escapes but what ends the process
            if not self._is_answered(error, exchange, facts, work):
                raise
        finally:
            if work is not None:
                self._service.end(work)
            exchange.over()
            self.in_flight -= 1
            facts.status = facts.status or exchange.status or _CLIENT_LEFT
            self._observer.ended(facts, self._clock())

    def _is_answered(self, error: BaseException, exchange: Exchange, facts: Facts, work: Work | None) -> bool:
        """Tell the client what went wrong, if it is there; False where the process must end."""
        if isinstance(error, asyncio.CancelledError) and work is not None and work.instead is not None:
            error = work.instead
        if isinstance(error, GatewayError):
            self._refuse(exchange, facts, render(error))
        elif isinstance(error, Exception):  # a bug, as it has got here: its caller is told nothing of it
            log.error("a request failed", request_id=facts.request_id, path=facts.path, exc_info=error)
            self._refuse(exchange, facts, render_unexpected())
        elif isinstance(error, asyncio.CancelledError) and exchange.disconnected:
            facts.status, facts.error_type = _CLIENT_LEFT, "client_left"
        else:
            return False
        return True

    def _proof_of(self, head: Head) -> Proof:
        head.proof = self._keyring.proof(head.fields.get(b"authorization"))
        return head.proof

    def _authenticate(self, head: Head, exchange: Exchange) -> Awaitable[Principal]:
        head.proof = None  # this one proves no more what it did; there will be another
        return self._keyring.authenticate(head.fields.get(b"authorization"), exchange.protocol.client)

    def _note_headers(self, headers: Mapping[bytes, bytes], facts: Facts) -> None:
        client_id = headers.get(b"x-request-id") or headers.get(b"x-client-request-id")
        if client_id:
            facts.client_request_id = client_id.decode("latin-1")[:200]
        parent = headers.get(b"traceparent")
        if self._tracing is not None:
            facts.trace = self._tracing.begin(parent, headers.get(b"tracestate"))
        elif parent is not None:
            facts.trace = parse_trace(parent, headers.get(b"tracestate"))

    async def _answer(self, exchange: Exchange, route: Route, principal: Principal, facts: Facts) -> None:
        """Answer what no model is called for."""
        if route is KEY:
            self._reply(exchange, facts, 200, await self._key_status.show(principal))
        else:
            self._models(exchange, route, principal, facts)

    def _models(self, exchange: Exchange, route: Route, principal: Principal, facts: Facts) -> None:
        catalogue = self._snapshots.current.catalogue
        if route is MODELS:
            body = list_models(catalogue, principal)
        else:
            body = get_model(catalogue, facts.path.removeprefix(MODEL_PREFIX), principal)
        self._reply(exchange, facts, 200, body)

    def _health(self, exchange: Exchange, facts: Facts) -> None:
        facts.route = "health"
        if facts.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(facts.method, facts.path, "GET")
        status, body = (200, {"status": "ok"}) if facts.path == "/healthz" else self._readiness.answer()
        self._reply(exchange, facts, status, body)

    def _reply(self, exchange: Exchange, facts: Facts, status: int, body: dict[str, Any]) -> None:
        exchange.reply(status, reply_headers(facts, JSON, self._clock()), _encode(body))

    def _refuse(self, exchange: Exchange, facts: Facts, reply: ErrorReply) -> None:
        facts.status, facts.error_type = reply.status, reply.error_type
        headers = reply_headers(facts, JSON, self._clock()) + lines(reply.headers)
        exchange.reply(reply.status, headers, reply.content)


def _route_of(head: Head, principal: Principal, facts: Facts) -> Route:
    """The route, where it is there and this key may use it."""
    route = match(head.method, head.path)
    facts.route = route.name or facts.route
    if route.name is not None and not principal.may_use_route(route.name):
        raise RouteNotAllowed(f"This key may not use the route `{route.name}`.")
    if not route.is_built:
        raise NotAvailableYet(f"{head.path} is not available in this version of Tunegate.")
    head.route, head.principal = route, principal
    return route


def _options_of(head: Head) -> CallOptions:
    head.options = options_of(head.fields)
    return head.options
