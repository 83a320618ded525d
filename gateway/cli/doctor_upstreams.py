"""The upstreams: their names, certificates, credentials and models."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from email.utils import parsedate_to_datetime
from pathlib import Path

from gateway.catalog import build
from gateway.cli.doctor_finding import Finding, bad, ok, warn
from gateway.cli.doctor_providers import provider_upstream
from gateway.cli.doctor_store import skew
from gateway.config import Settings
from gateway.config.upstream import UpstreamSettings
from gateway.control.discovery import MAX_LIST_BYTES, parse_models
from gateway.domain.errors import AttemptFailed
from gateway.upstream.client import UpstreamClient, make_client
from gateway.upstream.entra import EntraTokens
from gateway.upstream.port import Origin, Transport
from gateway.upstream.resolver import Resolver
from gateway.upstream.transports import Transports

DEADLINE_S = 15.0
MOST_SKEW_S = 5.0
_CERTIFICATE_DAYS = 14
_A_DAY_S = 86400


async def upstreams(settings: Settings) -> AsyncIterator[Finding]:
    """Look at every upstream, all at once; the findings come in the order of the file."""
    loop = asyncio.get_running_loop()
    needed = needed_models(settings)
    transports = Transports(loop)
    reasons: dict[str, str] = {}
    tokens = EntraTokens(on_failure=reasons.__setitem__)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(transports.aclose)
        await tokens.open(0.0)
        stack.push_async_callback(tokens.aclose)
        looks = [
            _upstream(name, upstream, transports, tokens, reasons, needed.get(name, {}))
            for name, upstream in settings.upstreams.items()
        ]
        for findings in await asyncio.gather(*looks):
            for finding in findings:
                yield finding


def needed_models(settings: Settings) -> dict[str, dict[str, str]]:
    """For each upstream the model ids that aliases ask of it, with the first alias that does."""
    needed: dict[str, dict[str, str]] = {}
    for alias, target in build(settings).aliases.items():
        for candidate in target.candidates:
            needed.setdefault(candidate.upstream, {}).setdefault(candidate.model, alias)
    return needed


async def _upstream(
    name: str,
    upstream: UpstreamSettings,
    transports: Mapping[str, Transport],
    tokens: EntraTokens,
    reasons: Mapping[str, str],
    needed: Mapping[str, str],
) -> list[Finding]:
    check = f"upstream {name}"
    if upstream.kind == "demo":
        return [ok(check, "simulated, runs with the gateway")]
    if upstream.kind == "litellm":
        return [await provider_upstream(check, upstream)]
    if upstream.disabled:
        mends = "do as it says" if upstream.anonymous else "set the variable that its api_keys name"
        return [warn(check, f"disabled: {upstream.disabled}", mends)]
    client = make_client(name, upstream, transports, Path(), tokens)
    found: list[Finding] = []
    try:
        async with asyncio.timeout(DEADLINE_S):
            if upstream.auth == "entra":
                await tokens.first(DEADLINE_S / 2)
                if (missing := _no_token(client)) is not None:
                    why = reasons.get(upstream.entra_scope, "no answer")
                    return [bad(check, f"{missing}: {why}", "give this machine an identity that may call it")]
            if upstream.transport == "http1":  # the other one may go through a proxy, which looks names up
                found += await _way(check, client.origin)
            async for finding in _answers(check, client, needed):
                found.append(finding)
    except AttemptFailed as error:
        do = "check base_url and the way there: DNS, firewall, proxy, certificates"
        found.append(bad(check, str(error), do))
    except TimeoutError:
        found.append(bad(check, f"no answer within {DEADLINE_S:.0f} s", "check base_url and the way there"))
    return found


def _no_token(client: UpstreamClient) -> str | None:
    try:
        client.header_sets[0]
    except AttemptFailed as error:
        return str(error)
    return None


async def _way(check: str, origin: Origin) -> list[Finding]:
    """The name and, where it is TLS, the certificate. Raises `AttemptFailed`."""
    resolver = Resolver()
    try:
        addresses = await resolver.resolve(asyncio.get_running_loop(), origin)
    finally:
        resolver.close()
    found = [ok(f"{check} name", f"{origin.host} is {', '.join(addresses[:3])}")]
    if origin.scheme == "https":
        found.append(await _certificate(f"{check} TLS", origin, addresses[0]))
    return found


async def _certificate(check: str, origin: Origin, address: str) -> Finding:
    try:
        _, writer = await asyncio.open_connection(
            address, origin.port, ssl=ssl.create_default_context(), server_hostname=origin.host
        )
    except ssl.SSLCertVerificationError as error:
        return bad(
            check, error.verify_message, "mend its certificate, or name its authority in SSL_CERT_FILE"
        )
    except (OSError, ssl.SSLError) as error:
        return bad(check, f"no TLS with {origin.host}:{origin.port}: {error}", "check base_url")
    try:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        ends = (tls.getpeercert() or {}).get("notAfter")
        return certificate(check, str(tls.version()), str(ends) if ends else None, time.time())
    finally:
        writer.transport.abort()


def certificate(check: str, version: str, ends: str | None, now: float) -> Finding:
    """How long a good certificate still holds; `ends` is its `notAfter`."""
    if ends is None:
        return ok(check, version)
    days = int((ssl.cert_time_to_seconds(ends) - now) // _A_DAY_S)
    if days < _CERTIFICATE_DAYS:
        return warn(check, f"{version}, its certificate ends in {days} days", "have it renewed")
    return ok(check, f"{version}, its certificate holds {days} days")


async def _answers(check: str, client: UpstreamClient, needed: Mapping[str, str]) -> AsyncIterator[Finding]:
    """What `GET /models` says to each credential."""
    listed: set[str] | None = None
    date: bytes | None = None
    count = len(client.header_sets)
    for n, headers in enumerate(client.header_sets, 1):
        key = f"{check} key" if count == 1 else f"{check} key {n} of {count}"
        request = client.listing(headers)
        response = await client.transport.send(request)
        body = await response.read(MAX_LIST_BYTES)
        date = response.header(b"date") or date
        if response.status == 200:
            if client.lists_models:
                listed = (listed or set()) | {model["id"] for model in parse_models(body)}
            yield ok(key, "accepted")
        elif response.status in (401, 402, 403):
            do = "replace the key, or pay its account"
            yield bad(key, f"refused with status {response.status}", do)
        elif not client.lists_models:
            yield ok(key, "not tried: there is no list of models to ask for")
        else:
            said = f"GET {request.head.target} answered {response.status}"
            yield warn(key, f"{said}, so neither key nor models are known", "check base_url, or call it once")
    if listed is not None:
        for finding in models(check, listed, needed):
            yield finding
    if date is not None:
        ahead_s = parsedate_to_datetime(date.decode("latin-1")).timestamp() - time.time()
        yield skew(f"{check} clock", ahead_s, MOST_SKEW_S)


def models(check: str, listed: set[str], needed: Mapping[str, str]) -> Iterator[Finding]:
    """Whether an upstream lists what aliases ask of it."""
    missing = {model: alias for model, alias in needed.items() if model not in listed}
    for model, alias in missing.items():
        yield bad(
            f"{check} model",
            f"it does not list {model}, which alias {alias} asks of it",
            "check the id and the account; name a successor if it is gone (tunegate sunset)",
        )
    if needed and not missing:
        yield ok(f"{check} models", f"all {len(needed)} that aliases ask of it")
    elif not needed:
        yield ok(f"{check} models", f"{len(listed)} listed, no alias names one")
