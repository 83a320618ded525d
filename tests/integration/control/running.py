"""One running control plane, its client, and workers that are none."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any, Self

import httpx2
import uvicorn

from gateway.control.plane import ControlPlane
from tests.support.polling import until

ADMIN_KEY = "tga-of-the-tests"


class RunningControl:
    """An async context manager around a served `ControlPlane`.

    Its file is `<folder>/gateway.yaml`, `write` changes it; `call` speaks as the admin.
    """

    def __init__(
        self,
        folder: Path,
        runtime: str,
        text: str,
        store_url: str,
        environment: dict[str, str],
        overrides: dict[str, dict[str, str | int]] | None = None,
        file: str = "gateway.yaml",
        bare: bool = False,
    ) -> None:
        self.path = folder / file
        self.runtime = folder / runtime
        self._store_url = store_url
        self._environment = environment
        self._overrides = overrides or {}
        self._text = text
        self._is_bare = bare

    def full_text(self, text: str) -> str:
        """`text` as a file that names the store, unless it is bare."""
        if self._is_bare:
            return text
        return f"store: {{url: '{self._store_url}'}}\n{text}"

    def write(self, text: str) -> None:
        """Replace the file as an editor does."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(self.full_text(text))
        fresh.replace(self.path)

    async def __aenter__(self) -> Self:
        self.write(self._text)
        self.runtime.mkdir(mode=0o700)
        (self.runtime / "active.yaml").write_text(self.path.read_text())
        self.plane = ControlPlane(
            self.path.read_text(), self.path, self.runtime, self._overrides, self._environment
        )
        self.admin_key_made = await self.plane.open()
        # As the supervisor hands it over: of a descriptor Python learns that it is TCP, and turns Nagle off.
        listener = socket.socket(fileno=socket.create_server(("127.0.0.1", 0)).detach())
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(self.plane.app, ws="none", lifespan="off", access_log=False, log_config=None)
        )
        self._serving = asyncio.create_task(self._server._serve([listener]))
        self._following = asyncio.create_task(self.plane.run())
        self.http = httpx2.AsyncClient(
            base_url=self.url,
            timeout=30,  # an audit of years, on a machine that is busy
            headers={
                "authorization": f"Bearer {self._environment.get('TUNEGATE_ADMIN_KEY', self.admin_key_made)}"
            },
            trust_env=False,
            verify=False,  # a context for TLS takes long to make and is not used
        )
        await until(lambda: self._server.started, "the server")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await self.http.aclose()
        # Not uvicorn's own end, which sleeps for a fifth of a second: the suite has many of these.
        for server in self._server.servers:
            server.close()
            await server.wait_closed()
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        await until(lambda: not self._server.server_state.connections, "the last connection's end")
        await self.plane.aclose()

    async def call(
        self, method: str, path: str, body: Any = None, *, expect: int = 200, **headers: str
    ) -> Any:
        """Call `/admin/v1<path>` and return the JSON of the answer, whose status must be `expect`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.http.request(method, f"/admin/v1{path}", json=body, headers=named)
        assert response.status_code == expect, response.text
        return response.json()


class FakeWorker:
    """Speaks a worker's side of the link. `swaps` False: it takes states and never serves them."""

    def __init__(
        self, control: RunningControl, index: int = 0, *, config: str = "", swaps: bool = True
    ) -> None:
        self._path = control.runtime / "control.sock"
        self._index = index
        self._config = config
        self._swaps = swaps
        self.instance = ""
        self.states: list[dict[str, Any]] = []
        self.advice: list[dict[str, Any]] = []

    @property
    def state(self) -> dict[str, Any]:
        """The last state that came."""
        return self.states[-1]

    async def __aenter__(self) -> Self:
        reader, self._writer = await asyncio.open_unix_connection(self._path, limit=1 << 24)
        self.send(type="hello", pid=1, index=self._index, config=self._config)
        self._reading = asyncio.create_task(self._read(reader))
        await until(lambda: self.states, "the first state")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()

    def send(self, **frame: Any) -> None:
        self._writer.write(json.dumps(frame).encode() + b"\n")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            frame = json.loads(line)
            if frame["type"] == "welcome":
                self.instance = frame["instance"]
            elif frame["type"] == "advice":
                self.advice.append(frame["upstreams"])
            else:
                assert frame["type"] == "state"
                self.states.append(frame)
                if self._swaps:
                    self.send(type="swapped", generation=frame["generation"])
