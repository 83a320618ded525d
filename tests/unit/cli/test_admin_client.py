import json
from collections.abc import Callable
from typing import Any

import click
import httpx2
import pytest

from gateway.cli.admin_client import AdminClient


def client(answer: Callable[[httpx2.Request], httpx2.Response]) -> AdminClient:
    return AdminClient("http://gate:1/", "tga-1", transport=httpx2.MockTransport(answer))


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "t", "param": None, "code": None}, **more}


def refusal(status: int, content: Any) -> str:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(click.ClickException) as failed:
        client(lambda _: httpx2.Response(status, content=body)).call("GET", "keys")
    return failed.value.message


def test_a_call_carries_the_key_and_escapes_names() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json={"ok": 1})

    body = {"model": "m"}
    assert client(answer).call("PUT", "aliases", "a/b?c#d:e@f", body=body, author="me") == {"ok": 1}
    (request,) = seen
    assert request.url.raw_path == b"/admin/v1/aliases/a%2Fb%3Fc%23d:e@f"
    assert request.headers["authorization"] == "Bearer tga-1"
    assert request.headers["x-tunegate-author"] == "me"
    assert json.loads(request.content) == body


def test_a_list_is_read_page_by_page() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        start, limit = int(request.url.params.get("after", "0")), int(request.url.params["limit"])
        page = list(range(start + 1, min(start + limit, 2500) + 1))
        more = page[-1] < 2500
        return httpx2.Response(200, json={"data": page, "has_more": more, "next": str(page[-1])})

    assert client(answer).listed("keys")["data"] == list(range(1, 2501))
    assert client(answer).listed("keys", limit=1001)["data"] == list(range(1, 1002))


def test_an_error_is_one_line() -> None:
    assert refusal(404, error("No key has the id `x`.")) == "No key has the id `x`."
    assert "TUNEGATE_ADMIN_KEY" in refusal(401, error("Incorrect admin key."))


def test_every_mistake_is_listed() -> None:
    mistakes = [
        {"path": "a.b", "line": 3, "message": "no"},
        {"path": "", "line": None, "message": "nor this"},
    ]
    assert refusal(400, error("first", errors=mistakes)).splitlines() == [
        "2 mistakes:",
        "  3: a.b: no",
        "  nor this",
    ]


def test_what_a_server_says_cannot_move_the_cursor() -> None:
    assert refusal(400, error("a\x1b[2Jb\r\n")) == "a?[2Jb??"


@pytest.mark.parametrize("content", [b"<html>", [], {"error": "text"}, b""])
def test_another_server_is_recognised(content: Any) -> None:
    assert refusal(502, content) == "http://gate:1 answered 502 and is no Tunegate control plane."


def test_nobody_answers() -> None:
    def answer(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    with pytest.raises(click.ClickException) as failed:
        client(answer).call("GET", "keys")
    assert "cannot reach the control plane at http://gate:1" in failed.value.message
    assert "--url" in failed.value.message
