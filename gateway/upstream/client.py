"""One configured upstream, ready to be called: origin, headers, credentials, timeouts, transport."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from gateway.catalog.quirks import Adapt, compile_quirks
from gateway.config.upstream import UpstreamSettings
from gateway.domain.trace import TraceContext
from gateway.upstream.azure import AzureTargets, azure_prefix
from gateway.upstream.entra import EntraHeaders, EntraTokens, Headers
from gateway.upstream.hidden import Hidden
from gateway.upstream.port import (
    Origin,
    RequestHead,
    Timeouts,
    Transport,
    UpstreamRequest,
    UpstreamResponse,
)
from gateway.upstream.provider_call import provider_header

_JSON_HEADERS = (
    (b"content-type", b"application/json"),
    (b"accept-encoding", b"identity"),
    (b"user-agent", b"tunegate"),
)


@dataclass(frozen=True, slots=True)
class UpstreamClient:
    """Calls one upstream. Of the caller's own headers none goes along, but the trace where that is asked for.

    Args:
        header_sets: complete headers, one set a credential.
        stream_usage: it accepts `stream_options.include_usage`.
        max_concurrency: calls in flight that one process may have there.
        trace_context: it is told of the trace that a call is part of.
        hidden: keeps what is secret of the headers out of what is told of its answers.
        adapt: what its quirks make of a body; None where it has none.
        targets: makes the target of a route for a deployment; None where all are `path_prefix` and the route.
        lists_models: its `GET /models` says which ids it serves.
    """

    name: str
    origin: Origin
    path_prefix: str
    header_sets: Sequence[Headers]
    timeouts: Timeouts
    stream_usage: bool
    max_concurrency: int
    transport: Transport
    trace_context: bool = False
    hidden: Hidden = field(default_factory=Hidden)
    adapt: Adapt | None = None
    targets: Callable[[str, str | None], str] | None = None
    lists_models: bool = True
    _heads: defaultdict[int, dict[str | tuple[str, str], RequestHead]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """Those in use, by credential, then by route or by route and deployment."""
    _timeouts: dict[tuple[tuple[str, float], ...], Timeouts] = field(default_factory=dict)
    """Those in use, by what aliases override."""

    def timeouts_for(self, overrides: Mapping[str, float] | None) -> Timeouts:
        """Its timeouts with those of an alias on top."""
        if not overrides:
            return self.timeouts
        place = tuple(overrides.items())
        timeouts = self._timeouts.get(place)
        if timeouts is None:
            timeouts = self._timeouts[place] = replace(self.timeouts, **overrides)
        return timeouts

    def post(
        self,
        path: str,
        body: bytes,
        credential: int,
        timeouts: Timeouts,
        trace: TraceContext | None = None,
        deployment: str | None = None,
    ) -> Awaitable[UpstreamResponse]:
        """Send a JSON body below the upstream's base URL and wait for the answer's head.

        `deployment` is what the upstream calls the model, where that is not its id.

        Awaiting raises:
            AttemptFailed: `connect`, `timeout` or `bad_response`.
        """
        headers, heads = self.header_sets[credential], self._heads[credential]
        place = path if deployment is None else (path, deployment)
        head = heads.get(place)
        if head is None or head.headers is not headers:  # a token's headers change as it does
            target = self.path_prefix + path if self.targets is None else self.targets(path, deployment)
            head = heads[place] = RequestHead(self.origin, "POST", target, headers)
        more = trace.headers() if trace is not None and self.trace_context else ()
        return self.transport.send(UpstreamRequest(head, body, timeouts, more))

    def listing(self, headers: Headers) -> UpstreamRequest:
        """The request for its list of models, by one set of `header_sets`."""
        target = f"{self.path_prefix}/models" if self.targets is None else self.targets("/models", None)
        return UpstreamRequest(RequestHead(self.origin, "GET", target, headers), timeouts=self.timeouts)


def make_client(
    name: str,
    settings: UpstreamSettings,
    transports: Mapping[str, Transport],
    runtime: Path,
    tokens: EntraTokens,
) -> UpstreamClient:
    """The client of a configured upstream.

    Args:
        transports: by their configured names, "http1" and "httpx".
        runtime: the folder where the demo upstream and the provider process listen.
        tokens: of this process, for upstreams that want them.
    """
    targets = None
    if settings.kind == "demo":
        origin, prefix = Origin("unix", str(runtime / "demo.sock"), 0), "/v1"
    elif settings.kind == "litellm":
        origin, prefix = Origin("unix", str(runtime / "providers.sock"), 0), "/v1"
    else:
        url = urlsplit(settings.base_url or "")
        port = url.port or (443 if url.scheme == "https" else 80)
        origin = Origin(url.scheme, url.hostname or "", port, settings.allow_private)
        prefix = url.path.rstrip("/")
        if settings.kind == "azure":
            prefix = azure_prefix(url.path, settings.api_version)
            targets = AzureTargets(prefix, settings.api_version) if settings.api_version else None
    timeouts = settings.timeouts
    hidden = Hidden(each.get_secret_value() for each in (*settings.credentials, *settings.headers.values()))
    return UpstreamClient(
        name=name,
        origin=origin,
        path_prefix=prefix,
        header_sets=_header_sets(settings, tokens, hidden),
        timeouts=Timeouts(timeouts.connect_s, timeouts.first_token_s, timeouts.idle_s, timeouts.total_s),
        stream_usage=settings.stream_usage,
        max_concurrency=settings.max_concurrency,
        # The way to our own process is ours, whatever the way from there.
        transport=transports["http1" if settings.kind == "litellm" else settings.transport],
        trace_context=settings.trace_context,
        hidden=hidden,
        adapt=compile_quirks(settings.quirks),
        targets=targets,
        # Azure lists what a resource could deploy, under names that are no ids of ours.
        lists_models=settings.kind != "azure" and settings.quirks.model_list,
    )


def _header_sets(settings: UpstreamSettings, tokens: EntraTokens, hidden: Hidden) -> Sequence[Headers]:
    common = list(_JSON_HEADERS)
    if settings.organization:
        common.append((b"openai-organization", settings.organization.encode()))
    if settings.project:
        common.append((b"openai-project", settings.project.encode()))
    if settings.kind == "litellm":
        common.append(provider_header(settings))
    else:
        for header, value in settings.headers.items():
            common.append((header.lower().encode(), value.get_secret_value().encode()))
    if settings.auth == "entra":
        return EntraHeaders(tokens.token(settings.entra_scope), tuple(common), hidden)
    if settings.anonymous:
        return (tuple(common),)
    name, scheme = (b"api-key", b"") if settings.kind == "azure" else (b"authorization", b"Bearer ")
    return tuple((*common, (name, scheme + key.get_secret_value().encode())) for key in settings.credentials)
