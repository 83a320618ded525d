"""Real sentinels for tests: a primary, its replica, and the sentinels that watch over them."""

import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self

from tests.support.valkey import ValkeyServer, _free_port, find_binary

SERVICE = "tuned"
START_DEADLINE_S = 20
STEP_S = 0.01


class Sentinel(ValkeyServer):
    """One sentinel. Sentinels keep what they know in their configuration file, so it has one.

    Args:
        lines: of its configuration.
    """

    def __init__(self, *lines: str, password: str | None = None) -> None:
        super().__init__(tcp=True, password=password, restricted=False)
        self._lines = lines

    def start(self) -> None:
        self.port = self.port or _free_port()
        file = self.folder / "sentinel.conf"
        if not file.exists():
            own = [f"port {self.port}", "bind 127.0.0.1", f"unixsocket {self.path}", f"dir {self.folder}"]
            if self._password:
                own += [f"requirepass {self._password}", f"sentinel sentinel-pass {self._password}"]
            file.write_text("\n".join([*own, *self._lines, ""]))
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own arguments
                [find_binary(), file, "--sentinel"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait(self._is_answering, "the sentinel")

    def names(self) -> int:
        """The port that it names as the primary's."""
        return int(self.run("SENTINEL", "GET-PRIMARY-ADDR-BY-NAME", SERVICE)[1])


class WatchedPair:
    """A context manager: `primary` and `replica` as they were made, `sentinels` that agree on both.

    Args:
        password: of the servers.
        sentinel_password: of the sentinels.
    """

    def __init__(
        self, *, sentinels: int = 3, password: str | None = None, sentinel_password: str | None = None
    ) -> None:
        auth = ("--primaryauth", password) if password else ()
        self.primary, self.replica = (
            ValkeyServer("--repl-diskless-sync-delay", "0", *auth, tcp=True, password=password)
            for _ in range(2)
        )
        self.sentinels: list[Sentinel] = []
        self._count = sentinels
        self._password = password
        self._sentinel_password = sentinel_password
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        userinfo = self.primary.userinfo
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        query = f"?sentinel_password={self._sentinel_password}" if self._sentinel_password else ""
        return f"redis+sentinel://{userinfo}{hosts}/{SERVICE}{query}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.primary)
            stack.enter_context(self.replica)
            self.replica.run("REPLICAOF", "127.0.0.1", self.primary.port)
            wait(lambda: _link(self.replica) == b"connected", "the replica's link")
            watched = [
                f"sentinel monitor {SERVICE} 127.0.0.1 {self.primary.port} {self._count // 2 + 1}",
                f"sentinel down-after-milliseconds {SERVICE} 500",
                f"sentinel failover-timeout {SERVICE} 3000",
                *([f"sentinel auth-pass {SERVICE} {self._password}"] if self._password else []),
            ]
            for _ in range(self._count):
                sentinel = Sentinel(*watched, password=self._sentinel_password)
                self.sentinels.append(stack.enter_context(sentinel))
            for sentinel in self.sentinels:
                # As often as a test wants to know; in production these are seconds.
                sentinel.run("SENTINEL", "DEBUG", "info-period", 100, "publish-period", 100)
            wait(lambda: all(map(self._sees_all, self.sentinels)), "the acquaintance of all sentinels")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _sees_all(self, sentinel: Sentinel) -> bool:
        flat = sentinel.run("SENTINEL", "PRIMARY", SERVICE)
        facts = dict(zip(flat[::2], flat[1::2], strict=True))
        counts = (facts[b"num-slaves"], facts[b"num-other-sentinels"])
        return counts == (b"1", str(self._count - 1).encode())


def wait(is_so: Callable[[], Any], what: str, within_s: float = START_DEADLINE_S) -> None:
    """Return when it is so; fail where that takes too long."""
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not come within {within_s} s"
        time.sleep(STEP_S)


def _link(replica: ValkeyServer) -> bytes:
    state: bytes = replica.run("ROLE")[3]
    return state
