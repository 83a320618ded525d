"""JSON over HTTP to the gateway that the tour started, without proxies."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

TIMEOUT_S = 30

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class CallFailed(Exception):
    """The gateway did not answer 200; `status` is None where it did not answer at all."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


def call(url: str, key: str, body: Any = None) -> Any:
    """GET, or POST where there is a body. Returns the JSON of the answer. Raises `CallFailed`."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - the address of our own gateway
    try:
        with _direct.open(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode(errors="replace")
        raise CallFailed(f"{url} answered {error.code}: {text}", error.code) from None
    except (OSError, ValueError) as error:
        raise CallFailed(f"{url} did not answer: {error}", None) from error
