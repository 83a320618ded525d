"""The second transport, on httpx2: for egress proxies and hosts that speak only HTTP/2. Slower than `http1/`.

It uses httpx2's transports without its client: no cookies, redirects, environment or content decoding.
Timeouts are kept here, so that they mean what they mean in `http1/`; httpx2's own are per operation.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
from typing import Any

import httpx2

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream import addresses
from gateway.upstream.http1.dialer import default_ssl_context, describe, why, why_tls
from gateway.upstream.http1.request_encoder import check, check_headers
from gateway.upstream.httpx_response import HttpxResponse
from gateway.upstream.port import Origin, UpstreamRequest
from gateway.upstream.resolver import Resolver

_ADDRESSES_KEPT_S = 10.0  # httpx2 pools by address, so every request needs one: do not ask DNS each time


class HttpxTransport:
    """The `Transport` on httpx2. HTTP/2 is offered where the `h2` package is installed.

    Unlike `http1/` it does not send a request again when a kept connection turns out to be dead: httpx2 looks
    for that before it sends, and cannot tell afterwards whether a byte of an answer came.

    Args:
        proxy: URL of an http, https or socks5 proxy. The proxy then resolves names, so only upstreams written
            as addresses can be judged by their address.
        ssl_context: for "https"; by default made from the system's authorities. Not to be shared with another
            transport: httpx2 sets the protocols it offers.
        idle_limit: idle connections kept for one origin.
        idle_age_s: an idle connection is closed at this age.
    """

    def __init__(
        self,
        *,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        idle_limit: int = 100,
        idle_age_s: float = 55.0,
    ) -> None:
        self._proxy = proxy
        self._ssl_context = ssl_context
        self._limits = httpx2.Limits(
            max_connections=None, max_keepalive_connections=idle_limit, keepalive_expiry=idle_age_s
        )
        self._http2 = importlib.util.find_spec("h2") is not None
        # One for each origin: httpx2 knows them by address, and one address may serve many names.
        self._transports: dict[Origin, httpx2.AsyncHTTPTransport] = {}
        self._resolver = Resolver()
        self._addresses: dict[Origin, tuple[float, list[str]]] = {}
        self._responses: set[HttpxResponse] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def send(self, request: UpstreamRequest) -> HttpxResponse:
        """Send `request`; returns when the response's head is there. See `Transport.send`."""
        check(request.head)
        check_headers(request.more)
        progress = _Progress(request)
        peer = progress.peer if self._proxy is None else f"{progress.peer} through the proxy"
        try:
            async with asyncio.timeout(request.timeouts.connect_s) as bound:
                progress.bound = bound
                try:
                    answer = await self._exchange(request, progress)
                except BaseException:  # cancelled, too
                    if progress.unfinished is not None:
                        self.keep(asyncio.get_running_loop().create_task(progress.unfinished.aclose()))
                    raise
        except TimeoutError as error:
            raise AttemptFailed(FailureClass.TIMEOUT, progress.timeout_reason) from error
        except httpx2.LocalProtocolError as error:
            raise ValueError(str(error)) from error
        except httpx2.ProxyError as error:
            reason = f"cannot connect to {peer}, which answered {error}"
            raise AttemptFailed(FailureClass.CONNECT, reason) from error
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise AttemptFailed(FailureClass.CONNECT, _why_not_connected(peer, error)) from error
        except (httpx2.NetworkError, httpx2.ProtocolError) as error:
            if isinstance(error, httpx2.NetworkError) or "Server disconnected" in str(error):
                reason = f"{peer} closed the connection before it answered"
                raise AttemptFailed(FailureClass.CONNECT, reason) from error
            reason = f"{peer} sent what is not HTTP: {error}"
            raise AttemptFailed(FailureClass.BAD_RESPONSE, reason) from error
        response = HttpxResponse(self, peer, answer, request.timeouts)
        self._responses.add(response)
        if answer.status_code == 101:
            response.abort()
            reason = f"{peer} sent what is not HTTP/1.1: status 101 where a final answer was due"
            raise AttemptFailed(FailureClass.BAD_RESPONSE, reason)
        return response

    async def aclose(self) -> None:
        """Close every connection; responses under way break."""
        self._resolver.close()
        for response in list(self._responses):
            response.stop()
        while self._closing:
            await asyncio.wait(self._closing)
        for transport in self._transports.values():
            await transport.aclose()
        self._transports.clear()

    async def _exchange(self, request: UpstreamRequest, progress: _Progress) -> httpx2.Response:
        origin = request.head.origin
        transport = self._transports.get(origin) or self._transport(origin)
        if origin.scheme == "unix":
            return await transport.handle_async_request(_httpx_request(request, "localhost", progress))
        found = await self._find(origin)
        for left, address in zip(range(len(found), 0, -1), found, strict=True):
            progress.share_s = progress.remaining_s / left if left > 1 else None
            try:
                return await transport.handle_async_request(_httpx_request(request, address, progress))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if left == 1 or progress.has_tcp:
                    raise
        raise AssertionError("a resolved name has an address")  # pragma: no cover

    async def _find(self, origin: Origin) -> list[str]:
        if self._proxy is not None and addresses.parse(origin.host) is None:
            return [origin.host]
        now = asyncio.get_running_loop().time()
        known = self._addresses.get(origin)
        if known is None or known[0] < now:
            known = now + _ADDRESSES_KEPT_S, await self._resolver.resolve(asyncio.get_running_loop(), origin)
            self._addresses[origin] = known
        return known[1]

    def _transport(self, origin: Origin) -> httpx2.AsyncHTTPTransport:
        if self._ssl_context is None:
            self._ssl_context = default_ssl_context()
        transport = self._transports[origin] = httpx2.AsyncHTTPTransport(
            verify=self._ssl_context,
            trust_env=False,
            http2=self._http2,
            limits=self._limits,
            proxy=None if origin.scheme == "unix" else self._proxy,
            uds=origin.host if origin.scheme == "unix" else None,
        )
        return transport

    # For responses.

    def forget(self, response: HttpxResponse) -> None:
        """The response is done with its connection."""
        self._responses.discard(response)

    def close_later(self, answer: httpx2.Response) -> None:
        """Let go of a connection from a callback."""
        task = asyncio.get_running_loop().create_task(answer.aclose())
        self.keep(task)

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold on to a task until it is done."""
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Progress:
    """How far a request came, told by httpx2's trace: it decides which bound of time is running."""

    def __init__(self, request: UpstreamRequest) -> None:
        self.peer = describe(request.head.origin)
        self.bound: asyncio.Timeout | None = None
        self.share_s: float | None = None
        self.has_tcp = False
        self.unfinished: Any = None  # a connected stream that httpx2 loses where TLS is not established on it
        self._timeouts = request.timeouts
        self._is_sent = False

    @property
    def remaining_s(self) -> float:
        """What is left of the bound that is running."""
        due_at = self.bound.when() if self.bound is not None else None
        return max(due_at - asyncio.get_running_loop().time(), 0.0) if due_at is not None else 0.0

    @property
    def timeout_reason(self) -> str:
        """The message for the bound that was hit."""
        if self._is_sent:
            return f"{self.peer} sent no answer within {self._timeouts.first_token_s:g} s (first_token_s)"
        return f"no connection to {self.peer} within {self._timeouts.connect_s:g} s (connect_s)"

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """httpx2's `trace` extension. A CONNECT to a proxy still belongs to connecting."""
        if event == "connection.connect_tcp.complete":
            self.has_tcp = True
            self.unfinished = info["return_value"]
        elif event.endswith(".send_request_headers.started") and info["request"].method != b"CONNECT":
            self._is_sent = True
            self.unfinished = None
            if self.bound is not None:
                self.bound.reschedule(asyncio.get_running_loop().time() + self._timeouts.first_token_s)


def _httpx_request(request: UpstreamRequest, host: str, progress: _Progress) -> httpx2.Request:
    head = request.head
    origin = head.origin
    scheme = "https" if origin.scheme == "https" else "http"
    return httpx2.Request(
        head.method,
        httpx2.URL(scheme=scheme, host=host, port=origin.port or None, path="/"),
        headers=[(b"host", origin.host_header), *head.headers, *request.more],
        content=request.body,
        extensions={
            "target": head.target.encode(),  # as it is: httpx2's URLs would escape it anew
            "sni_hostname": origin.host.rstrip(
                "."
            ),  # the certificate is checked for the name, not the address
            "timeout": {"connect": progress.share_s},
            "trace": progress.trace,
        },
    )


def _why_not_connected(peer: str, error: BaseException) -> str:
    """The reason at the bottom of a chain of wrapped exceptions."""
    reason = f"cannot connect to {peer}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"TLS with {peer} failed: {why_tls(cause)}"
        if isinstance(cause, OSError):
            reason = f"cannot connect to {peer}: {why(cause)}"
        cause = cause.__cause__ or cause.__context__
    return reason
