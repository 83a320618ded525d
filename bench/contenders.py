"""Those that are measured: the bare upstream, nginx before it, and Tunegate before it.

Each is a context manager that yields a running `Target`. All of them are given the same upstream in the same
run, so a figure is read as its ratio to nginx, which is as near to the kernel's own cost as a proxy gets.
"""

import compileall
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from processes import LOAD_CORE, PROXY_CORE, start, stop

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "bench"
TUNEGATE = HERE.parent / ".venv" / "bin" / "tunegate"
DEADLINE_S = 60


@dataclass(frozen=True)
class Target:
    """A contender that runs: its `session` is what it costs, `ready_s` how long its start took."""

    name: str
    session: int
    port: int
    key: str = "none"
    header: str = ""
    """A further header that it wants of each request."""
    knows_aliases: bool = False
    ready_s: float | None = None
    admin: "Admin | None" = None
    data_dir: Path | None = None


@dataclass(frozen=True)
class Admin:
    """A gateway's control plane."""

    url: str
    key: str

    def ask(self, path: str, body: object = None) -> Any:
        """Return what it answers: to a GET, or to a POST where there is a body."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@dataclass(frozen=True)
class Upstream:
    """The mock: over plain HTTP at `port`, and behind TLS at `tls_port` if the run asks for it."""

    port: int
    tls_port: int | None
    session: int
    log: IO[bytes]

    @property
    def base_url(self) -> str:
        if self.tls_port:
            return f"https://localhost:{self.tls_port}/v1"
        return f"http://127.0.0.1:{self.port}/v1"


def missing(tls: bool) -> list[str]:
    """Return one line for each program that is not here, with what installs it."""
    packages = {"gcc": "gcc", "nginx": "nginx-light"} | ({"openssl": "openssl"} if tls else {})
    ours = [] if TUNEGATE.exists() else ["tunegate is not here: python3 dev.py bench installs it"]
    return ours + [
        f"{program} is not here (Debian: apt-get install {package})"
        for program, package in packages.items()
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin") is None
    ]


def build() -> None:
    """Compile the mock and the load generator where their sources are newer, and ours to byte code.

    An installation has that; a checkout may not, and would compile anew at each start.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    for name in ("mock_upstream", "load"):
        source, program = HERE / f"{name}.c", BUILD / name
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)
    compileall.compile_dir(HERE.parent / "gateway", quiet=1)


def make_certificate() -> Path:
    """Return a self-signed certificate for localhost, made once; its key lies beside it."""
    certificate = BUILD / "cert.pem"
    if not certificate.exists():
        request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=localhost"]
        names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        files = ["-keyout", BUILD / "key.pem", "-out", certificate]
        subprocess.run(["openssl", *request, *names, *files], check=True, capture_output=True)
    return certificate


@contextmanager
def upstream(log: IO[bytes], *, tls: bool) -> Iterator[Upstream]:
    """Run the mock on the load's core, with nginx as its TLS end if asked."""
    with tempfile.TemporaryFile() as said:
        process = start([str(BUILD / "mock_upstream"), "0"], LOAD_CORE, log, out=said)
        try:
            port = json.loads(_wait_for_line(said, process, b"port"))["port"]
            if not tls:
                yield Upstream(port, None, process.pid, log)
                return
            certificate = make_certificate()
            listen = f"ssl_certificate {certificate}; ssl_certificate_key {certificate.with_name('key.pem')};"
            with _nginx(log, LOAD_CORE, f"http://127.0.0.1:{port}", listen=listen) as front:
                yield Upstream(port, front.port, process.pid, log)
        finally:
            stop(process)


@contextmanager
def direct(to: Upstream) -> Iterator[Target]:
    """No proxy: what the upstream and the load generator do by themselves."""
    yield Target("direct", to.session, to.port)


@contextmanager
def nginx(to: Upstream) -> Iterator[Target]:
    """One nginx worker that passes everything on, with kept connections on both sides."""
    forward = f"https://127.0.0.1:{to.tls_port}" if to.tls_port else f"http://127.0.0.1:{to.port}"
    with _nginx(to.log, PROXY_CORE, forward) as target:
        yield target


@contextmanager
def _nginx(log: IO[bytes], core: int, forward: str, *, listen: str = "") -> Iterator[Target]:
    """Run nginx before `forward`; `listen` holds the certificate's directives where it ends TLS itself."""
    scheme, _, address = forward.partition("://")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as folder:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        config = f"""
            worker_processes 1; worker_rlimit_nofile 20000;
            daemon off; pid {folder}/pid; error_log stderr warn;
            events {{ worker_connections 8192; use epoll; multi_accept on; }}
            http {{
              access_log off; tcp_nodelay on; keepalive_requests 1000000; client_body_buffer_size 64k;
              {" ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)}
              upstream behind {{ server {address}; keepalive 1024; keepalive_requests 1000000; }}
              server {{
                listen 127.0.0.1:{port}{" ssl" if listen else ""} backlog=4096;
                {listen} ssl_protocols TLSv1.3;
                location / {{
                  proxy_pass {scheme}://behind; proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse on;
                  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
                  proxy_read_timeout 120s;
                }}
              }}
            }}
        """
        path = Path(folder) / "nginx.conf"
        path.write_text(config)
        program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
        process = start([str(program), "-e", "stderr", "-c", str(path)], core, log)
        try:
            wait_for_port(port, process)
            yield Target("nginx", process.pid, port)
        finally:
            stop(process)


@contextmanager
def tunegate(
    to: Upstream,
    aliases: dict[str, str],
    *,
    name: str = "tunegate",
    workers: int = 1,
    durability: str = "everysec",
    limits: dict[str, int] | None = None,
    blocks: Mapping[str, dict[str, Any]] | None = None,
) -> Iterator[Target]:
    """Run Tunegate with all that a call passes on: virtual key, catalogue, relay, metrics, access log.

    The upstream serves any id; each of `aliases` (name to model id) has a fallback, which no call needs.
    `limits` are its key's; `blocks` are further fields of the configuration's blocks.
    """
    config: dict[str, dict[str, Any]] = {
        "server": {"workers": workers, "drain_grace_s": 0},
        "store": {"url": "embedded", "data_dir": "data", "durability": durability},
        "upstreams": {
            "mock": {"kind": "openai", "base_url": to.base_url, "models": None, "max_concurrency": 100_000}
        },
        "aliases": {name: {"model": model, "fallbacks": ["mock-spare"]} for name, model in aliases.items()},
    }
    for block, fields in (blocks or {}).items():
        config[block] |= fields
    admin_key = secrets.token_hex(16)
    environment = {"TUNEGATE_ADMIN_KEY": admin_key}
    if to.tls_port:
        environment["SSL_CERT_FILE"] = str(make_certificate())
    with tempfile.TemporaryDirectory(prefix="bench-tunegate-") as folder, tempfile.TemporaryFile() as said:
        path = Path(folder) / "bench.yaml"
        path.write_text(json.dumps(config, indent=1))  # JSON is valid YAML
        command = [str(TUNEGATE), "serve", "--config", str(path), "--port", "0", "--admin-port", "0"]
        began = time.monotonic()
        process = start(command, PROXY_CORE, to.log, env=environment, out=said)
        try:
            ready = _wait_for_line(said, process, b"ready data=").decode()
            ready_s = time.monotonic() - began
            data, admin_url = (word.partition("=")[2] for word in ready.split()[1:3])
            admin = Admin(admin_url, admin_key)
            port = int(data.rsplit(":", 1)[1])
            key = admin.ask("/admin/v1/keys", {"name": "bench", "limits": limits})["key"]
            yield Target(
                name,
                process.pid,
                port,
                key,
                knows_aliases=True,
                ready_s=ready_s,
                admin=admin,
                data_dir=path.parent / "data",
            )
        finally:
            stop(process)


def free_port() -> int:
    """Return a port for nginx, which cannot be given 0. It is free now; nobody else here races for it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            _check(process, deadline)
        else:
            return


def _wait_for_line(said: IO[bytes], process: subprocess.Popen[bytes], marker: bytes) -> bytes:
    """Return the first line with `marker` that the process wrote to the file `said`."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        size = os.fstat(said.fileno()).st_size
        for line in os.pread(said.fileno(), size, 0).splitlines(keepends=True):
            if marker in line and line.endswith(b"\n"):
                return line
        _check(process, deadline)


def _check(process: subprocess.Popen[bytes], deadline: float) -> None:
    if process.poll() is not None or time.monotonic() > deadline:
        sys.exit(f"{process.args[0]} did not get ready: see {BUILD / 'log.txt'}")
    time.sleep(0.005)
