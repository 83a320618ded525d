"""A whole gateway as its operator starts it: `tunegate serve`, driven by signals, HTTP and the SDK."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import yaml

from gateway.supervisor.paths import embedded_cache_socket, embedded_socket

TUNEGATE = Path(sys.executable).parent / "tunegate"
START_DEADLINE_S = 40
STOP_DEADLINE_S = 30
LOOK_EVERY_S = 0.01
_WORKER_PREFIX = 24  # characters of a request id that all ids of one worker share


def wait_until(is_so: Callable[[], object], what: str, *, within_s: float = 10.0) -> None:
    """Return as soon as `is_so()` is true; fail the test where it is not within `within_s`."""
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not come within {within_s} s"
        time.sleep(LOOK_EVERY_S)


def worker_of(request_id: str) -> str:
    """What tells apart the workers that answered."""
    return request_id[:_WORKER_PREFIX]


class GatewayProcess:
    """One gateway on a folder of its own, which outlives it: `start` may follow `kill` or `stop`.

    Args:
        config: the configuration; `store.data_dir` is set to a folder of this gateway.
        path: the configuration file inside `home`; by default it is written from `config`.
    """

    def __init__(self, config: dict[str, Any], *, path: str = "gateway.yaml") -> None:
        # Not pytest's tmp_path: the runtime directory holds sockets, whose paths may have 107 bytes.
        self.home = Path(tempfile.mkdtemp(prefix="tunegate-e2e-"))
        self.data_dir = self.home / "data"
        self.admin_key = secrets.token_hex(16)
        self.path = self.home / path
        self.path.parent.mkdir(exist_ok=True)
        self.workers: int = config.get("server", {}).get("workers", 1)
        self.path.write_text(config_text(config))
        self.log_path = self.home / "log"
        self.process: subprocess.Popen[bytes]
        self.data_url = self.admin_url = ""
        self._http = httpx2.Client(timeout=20, trust_env=False)
        self._log_starts_at = 0

    # -- life

    def start(self) -> "GatewayProcess":
        """Start it and return once it is ready."""
        self._log_starts_at = self.log_path.stat().st_size if self.log_path.exists() else 0
        with (self.home / "stdout").open("wb") as out, self.log_path.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  # our own command
                [*(TUNEGATE, "serve", "--config", self.path), *("--port", "0", "--admin-port", "0")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env={**_environment(), "TUNEGATE_ADMIN_KEY": self.admin_key, "TMPDIR": str(self.home)},
            )
        wait_until(
            lambda: self._ready_line() or self.process.poll() is not None,
            "the ready line",
            within_s=START_DEADLINE_S,
        )
        assert self._ready_line(), self.log_path.read_text()
        _, data, admin = self._ready_line().split()
        self.data_url, self.admin_url = data.removeprefix("data="), admin.removeprefix("admin=")
        return self

    def stop(self) -> int:
        """Drain by SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_DEADLINE_S)

    def cleanup(self) -> None:
        """End whatever is left of it, by force, and remove its folder."""
        for pid in self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if hasattr(self, "process"):
            self.process.kill()
            self.process.wait(STOP_DEADLINE_S)
        self._http.close()
        for path in (embedded_socket(self.data_dir), embedded_cache_socket(self.data_dir)):
            Path(path).unlink(missing_ok=True)
        shutil.rmtree(self.home)

    # -- its processes

    def log(self) -> list[dict[str, Any]]:
        """What it logged since its last start: the objects, oldest first."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_starts_at)
            return [json.loads(line) for line in log.read().splitlines() if line.startswith(b"{")]

    def logged(self, event: str, **facts: object) -> list[dict[str, Any]]:
        return [line for line in self.log() if line.get("event") == event and facts.items() <= line.items()]

    def pid(self, child: str) -> int:
        """The process that is `worker-0`, `control`, `store`, ... now."""
        pid: int = self.logged("child_ready", child=child)[-1]["pid"]
        return pid

    def starts_of(self, child: str) -> int:
        return len(self.logged("child_ready", child=child))

    def alive(self) -> list[int]:
        """Every process with this gateway's folder or store on its command line; zombies have none."""
        ours = (os.fsencode(self.home), os.fsencode(embedded_socket(self.data_dir)))
        found = []
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # gone meanwhile
                command = line.read_bytes()
                if any(path in command for path in ours):
                    found.append(int(line.parent.name))
        return found

    # -- its control plane

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Call the admin API; the answer must be 200."""
        answer = self.ask_admin(method, path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ask_admin(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        return self._http.request(method, self.admin_url + path, json=body, headers=self.admin_headers)

    @property
    def admin_headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.admin_key}"}

    def new_key(self, **fields: Any) -> str:
        """The text of a new virtual key; without `fields` one that may use everything."""
        key: str = self.issue_key(**fields)["key"]
        return key

    def issue_key(self, **fields: Any) -> dict[str, Any]:
        issued: dict[str, Any] = self.admin("POST", "/admin/v1/keys", {"name": "e2e", **fields})
        return issued

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `tunegate` against it."""
        return subprocess.run(  # noqa: S603  # our own command
            [TUNEGATE, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=START_DEADLINE_S,
            env={
                **_environment(),
                "TUNEGATE_ADMIN_KEY": self.admin_key,
                "TUNEGATE_ADMIN_URL": self.admin_url,
            },
        )

    # -- its clients

    @property
    def base_url(self) -> str:
        return f"{self.data_url}/v1"

    def sdk(self, key: str, *, max_retries: int = 0) -> openai.OpenAI:
        """The official SDK; use it as a context manager."""
        http = openai.DefaultHttpxClient(trust_env=False, verify=False)  # no TLS here
        return openai.OpenAI(base_url=self.base_url, api_key=key, max_retries=max_retries, http_client=http)

    def async_sdk(self, key: str, *, max_retries: int = 0) -> openai.AsyncOpenAI:
        http = openai.DefaultAsyncHttpxClient(trust_env=False, verify=False)  # no TLS here
        return openai.AsyncOpenAI(
            base_url=self.base_url, api_key=key, max_retries=max_retries, http_client=http
        )

    @contextlib.contextmanager
    def each_worker(self) -> Iterator[list["OneWorker"]]:
        """A client of each worker: which one takes a connection is chance, so connect until all have."""
        found: dict[str, OneWorker] = {}
        with contextlib.ExitStack() as stack:
            deadline = time.monotonic() + START_DEADLINE_S
            while len(found) < self.workers:
                assert time.monotonic() < deadline, f"only {len(found)} workers took connections"
                client = OneWorker(self.data_url)
                if client.worker in found:
                    client.close()
                else:
                    found[client.worker] = client
                    stack.callback(client.close)
            yield list(found.values())

    def _ready_line(self) -> str:
        lines = (self.home / "stdout").read_text().splitlines()
        return next((line for line in lines if line.startswith("ready ")), "")


class OneWorker:
    """A client with a single connection, and so of a single worker."""

    def __init__(self, url: str) -> None:
        limits = httpx2.Limits(max_connections=1)
        self._http = httpx2.Client(base_url=url, limits=limits, timeout=10, trust_env=False)
        self.worker = worker_of(self._http.get("/healthz").headers["x-request-id"])

    def models(self, key: str) -> httpx2.Response:
        """The cheapest call that needs a key."""
        return self._ask("GET", "/v1/models", key)

    def chat(self, key: str, model: str, **fields: Any) -> httpx2.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
        return self._ask("POST", "/v1/chat/completions", key, json=body)

    def _ask(self, method: str, path: str, key: str, **body: Any) -> httpx2.Response:
        answer = self._http.request(method, path, headers={"authorization": f"Bearer {key}"}, **body)
        assert worker_of(answer.headers["x-request-id"]) == self.worker, "the connection was lost"
        return answer

    def close(self) -> None:
        self._http.close()


def config_text(config: dict[str, Any]) -> str:
    """A configuration as the text of its file, with the store in the gateway's own folder."""
    return yaml.safe_dump({"store": {"data_dir": "data"}} | config, sort_keys=False)


def _environment() -> dict[str, str]:
    """Ours, without what would change what a gateway does."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TUNEGATE_") and name != "OPENAI_API_KEY"
    }


@contextlib.contextmanager
def running_gateway(config: dict[str, Any], **options: Any) -> Iterator[GatewayProcess]:
    """A gateway that is ready, and leaves nothing behind."""
    gateway = GatewayProcess(config, **options)
    try:
        yield gateway.start()
    finally:
        gateway.cleanup()


def in_background(work: Callable[[], Any]) -> threading.Thread:
    """Run `work` beside the test; join what is returned."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread
