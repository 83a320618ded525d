"""What the provider process is told beside the body, in one header of every call of kind `litellm`."""

from __future__ import annotations

import json

from gateway.config.upstream import UpstreamSettings

HEADER = b"provider-call"


def provider_header(settings: UpstreamSettings) -> tuple[bytes, bytes]:
    """Which provider is meant, where it is, and what goes along; the credential has a header of its own.

    JSON in ASCII, as a header must be. `gateway.providers.call` reads it.
    """
    said = {
        "provider": settings.provider,
        "base_url": settings.base_url,
        "headers": {name: value.get_secret_value() for name, value in settings.headers.items()},
        "params": dict(settings.params),
        "connect_s": settings.timeouts.connect_s,
    }
    return HEADER, json.dumps(said, separators=(",", ":")).encode("ascii")
