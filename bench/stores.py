"""A Valkey server asked directly: what it was told, what it answered, what it keeps."""

import socket
from typing import Any, Self

import hiredis

TRAFFIC = {
    "in": "total_net_input_bytes",
    "out": "total_net_output_bytes",
    "file": "aof_current_size",
    "memory": "used_memory",
    "commands": "total_commands_processed",
}


class Server:
    """A connection to the server behind a unix socket; `close` ends it."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._reader = hiredis.Reader(notEnoughData=...)
        self._unread = 0

    def send(self, commands: bytes, count: int) -> None:
        """Send so many packed commands, and read the answers once many wait. Raises what one of them was."""
        self._socket.sendall(commands)
        self._unread += count
        while self._unread > 20_000:
            self._read()

    def settle(self) -> None:
        """Read every answer that waits."""
        while self._unread:
            self._read()

    def ask(self, *command: str | bytes | int) -> Any:
        """One command, and its answer."""
        self.settle()
        self._socket.sendall(hiredis.pack_command(command))
        self._unread = 1
        return self._read()

    def _read(self) -> Any:
        while (reply := self._reader.gets()) is ...:
            received = self._socket.recv(1 << 20)
            if not received:
                raise ConnectionResetError
            self._reader.feed(received)
        self._unread -= 1
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def info(self) -> dict[str, str]:
        text = self.ask("INFO", "everything").decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def traffic(self) -> dict[str, float]:
        """Bytes in and out, of the append-only file and of memory, and commands, up to now."""
        info = self.info()
        return {name: float(info.get(field, 0)) for name, field in TRAFFIC.items()}

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
