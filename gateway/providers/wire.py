"""Requests to providers go out once, and to where they were meant: no redirect, no quiet second try."""

from __future__ import annotations

from typing import Any

import httpx


def keep_straight() -> None:
    """Hold every httpx client of this process to that, litellm's and those of the SDKs it uses.

    A redirect would carry a credential and a prompt to a host that nobody configured. And litellm asks again,
    without a word, after an error that may mean that the provider has begun to work. Both become an answer or
    an error like any other; whether to try again is the gateway's decision.
    """
    send, send_sync = httpx.AsyncClient.send, httpx.Client.send

    async def straight(client: Any, request: Any, **options: Any) -> Any:
        try:
            return await send(client, request, **{**options, "follow_redirects": False})
        except (httpx.RemoteProtocolError, httpx.ConnectError) as error:
            raise httpx.ReadError(str(error), request=request) from error

    def straight_sync(client: Any, request: Any, **options: Any) -> Any:
        try:
            return send_sync(client, request, **{**options, "follow_redirects": False})
        except (httpx.RemoteProtocolError, httpx.ConnectError) as error:
            raise httpx.ReadError(str(error), request=request) from error

    httpx.AsyncClient.send = straight
    httpx.Client.send = straight_sync
