import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import gateway.control.plane as plane_module
from tests.integration.control.running import FakeWorker
from tests.support.polling import until


class Lister:
    """An upstream that lists `models` to whoever sends `key`, or to anyone; or answers `broken`."""

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] = [{"id": "gpt-x", "shutdown_date": "2030-01-01"}]
        self.key: str | None = "good"
        self.broken: bytes | None = None
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.split("\r\n")[0])
        allowed = self.key is None or f"authorization: bearer {self.key}" in head.lower()
        status = b"200 OK" if allowed else b"401 Unauthorized"
        body = json.dumps({"object": "list", "data": self.models}).encode()
        reply = b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (
            status,
            len(body),
            body,
        )
        writer.write(reply if self.broken is None else self.broken)
        writer.close()

    @asynccontextmanager
    async def on(self, *, socket: Path | None = None) -> AsyncIterator[int]:
        """Serve on a unix socket, or on the port given."""
        if socket is not None:
            server = await asyncio.start_unix_server(self.serve, socket)
        else:
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = 0 if socket else server.sockets[0].getsockname()[1]
        try:
            yield port
        finally:
            server.close()
            await server.wait_closed()


def file(port: int, models: str = "discover", more: str = "") -> str:
    return f"""
upstreams:
  a: {{base_url: "http://127.0.0.1:{port}/base/v1", api_keys: [stale, good], models: {models}}}
  off: {{base_url: "http://127.0.0.1:{port}/off/v1", api_keys: [""], models: discover}}
{more}"""


async def test_models_are_known_at_the_start(start_control: Callable[..., Any]) -> None:
    lister = Lister()
    async with lister.on() as port:
        control = await start_control(file(port))
        listed = await control.call("GET", "/upstreams")
        assert listed["data"][0]["models"] == [
            {"id": "gpt-x", "shutdown_date": "2030-01-01", "state": "discovered"}
        ]
        assert (listed["data"][1]["state"], listed["data"][1]["models"]) == ("disabled", [])
        assert lister.asked == ["GET /base/v1/models HTTP/1.1"] * 2  # the first credential was refused
        explained = await control.call("GET", "/explain?model=gpt-x")
        assert explained["attempts"] == [
            {
                "n": 1,
                "upstream": "a",
                "model": "gpt-x",
                "rewrite": None,
                "price_usd_per_million": None,
                "shutdown_date": "2030-01-01",
            }
        ]
        async with FakeWorker(control) as worker:
            assert worker.state["discovered"] == {"a": lister.models}


async def test_the_demo_upstream_is_waited_for(start_control: Callable[..., Any], tmp_path: Path) -> None:
    lister = Lister()
    lister.key = None
    starting = asyncio.create_task(start_control("upstreams: {demo: {kind: demo}}"))
    await until((tmp_path / "run" / "control.sock").exists, "the start")
    async with lister.on(socket=tmp_path / "run" / "demo.sock"):
        control = await starting
    (demo,) = (await control.call("GET", "/upstreams"))["data"]
    assert [model["id"] for model in demo["models"]] == ["gpt-x"]
    assert demo["base_url"] is None


async def test_an_upstream_that_fails_keeps_what_it_said_last(
    start_control: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plane_module, "FIRST_LOOK_S", 0.3)
    lister = Lister()
    async with lister.on() as port:
        await start_control(file(port))
        broken = [b"", *(b"HTTP/1.1 %d X\r\ncontent-length: 2\r\n\r\n<>" % status for status in (200, 500))]
        for number, lister.broken in enumerate(broken):
            again = await start_control(file(port), runtime=f"run-{number}")
            (upstream, _) = (await again.call("GET", "/upstreams"))["data"]
            assert [model["id"] for model in upstream["models"]] == ["gpt-x"]


async def test_a_reload_looks_again_and_forgets_who_no_longer_discovers(
    start_control: Callable[..., Any],
) -> None:
    lister = Lister()
    async with lister.on() as port:
        control = await start_control(file(port, models="[own]"))
        assert lister.asked == []
        control.write(file(port))
        await control.call("POST", "/config/reload")

        def discovered() -> list[str]:
            return [model["id"] for model in control.plane.keeper.current.discovered.get("a", [])]

        await until(lambda: discovered() == ["gpt-x"], "the discovered models")
        control.write(file(port, models="[own]"))
        await control.call("POST", "/config/reload")
        await until(lambda: discovered() == [], "the forgetting")
        (upstream, _) = (await control.call("GET", "/upstreams"))["data"]
        assert upstream["models"] == [{"id": "own", "shutdown_date": None, "state": "listed"}]
