"""The scripts of the accounts on a real server, under a clock that the test sets."""

import socket
from collections.abc import Iterator
from typing import Any, Self

import hiredis

from gateway.limits.values import (
    SETTLEMENT_RESULTS,
    Admission,
    OpenReservation,
    Settlement,
    SettlementResult,
    Verdict,
)
from gateway.store import account_wire, keys
from gateway.store.account_scripts import AccountScripts
from gateway.store.scripts import Script
from tests.support.valkey import ValkeyServer

CLOCK = """
local function now_ms()
  return tonumber(redis.call('GET', 'now'))
end
"""

Command = tuple[str | bytes | int, ...] | bytes


class Bench:
    """One blocking connection: what a test sends together arrives together, and is answered in order."""

    def __init__(self, server: ValkeyServer) -> None:
        self.scripts = AccountScripts.load(CLOCK)
        self._reader = hiredis.Reader(notEnoughData=...)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(str(server.path))
        self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def clear(self) -> None:
        """Forget all data."""
        self.run(("FLUSHALL", "SYNC"), *(("SCRIPT", "LOAD", script.source) for script in self._all_scripts()))

    def run(self, *commands: Command) -> list[Any]:
        """Send commands in one write; an error reply fails the test."""
        self._socket.sendall(b"".join(map(packed, commands)))
        replies: list[Any] = []
        while len(replies) < len(commands):
            while (reply := self._reader.gets()) is ...:
                self._reader.feed(self._socket.recv(1 << 20))
            if isinstance(reply, hiredis.ReplyError):
                raise reply
            replies.append(reply)
        return replies

    def one(self, *command: str | bytes | int) -> Any:
        """Send one command."""
        return self.run(command)[0]

    def at(self, now: int, command: Command) -> Any:
        """Run a command at a time."""
        return self.run(("SET", "now", now), command)[1]

    def new_key(self, key_id: str, revision: int = 1) -> None:
        self.one("HSET", keys.key_record(key_id), "record", "{}", "rev", revision)

    def admit(self, admission: Admission, now: int) -> Verdict:
        return account_wire.verdict(self.at(now, self.admit_command(admission)), admission)

    def admit_command(self, admission: Admission) -> Command:
        return account_wire.admit_command(self.scripts.admit, admission)[1]

    def settle(self, settlement: Settlement, now: int) -> SettlementResult:
        return SETTLEMENT_RESULTS[self.at(now, self.settle_command(settlement))]

    def settle_command(self, settlement: Settlement) -> Command:
        return account_wire.settle_command(self.scripts.settle, settlement)[1]

    def renew(self, process: str, key_ids: list[str], request_ids: list[str], now: int) -> int:
        names = [keys.leases(key_ids[0][:2]), *map(keys.key_limits, key_ids)]
        return self.at(now, self.command(self.scripts.renew, names, [process, *request_ids]))

    def overdue(self, shard: str, now: int, limit: int = 100) -> list[OpenReservation]:
        names = [keys.leases(shard), keys.reservations(shard)]
        found = iter(self.at(now, self.command(self.scripts.overdue, names, [limit])))
        return [account_wire.open_reservation(request_id, next(found)) for request_id in found]

    def credit(self, key_id: str, nanousd: int, grant_id: str, now: int) -> int:
        names = [keys.key_account(key_id), keys.grant_mark(key_id[:2], grant_id)]
        return self.at(now, self.command(self.scripts.credit, names, [nanousd]))

    def beat(self, process: str, now: int) -> int:
        return self.at(now, self.command(self.scripts.beat, [keys.PROCESSES], [process]))

    def hash(self, name: str) -> dict[str, str]:
        """A hash as text."""
        flat = self.one("HGETALL", name)
        return {field.decode(): value.decode() for field, value in zip(flat[::2], flat[1::2], strict=True)}

    def hashes(self, pattern: str) -> Iterator[tuple[str, dict[str, str]]]:
        """All hashes whose names match."""
        for name in self.one("KEYS", pattern):
            yield name.decode(), self.hash(name.decode())

    def ledger(self, shard: str) -> list[dict[str, bytes]]:
        """All entries of a ledger, in order."""
        entries = self.one("XRANGE", keys.ledger(shard), "-", "+")
        return [
            {field.decode(): value for field, value in zip(flat[::2], flat[1::2], strict=True)}
            for _, flat in entries
        ]

    def _all_scripts(self) -> list[Script]:
        return [getattr(self.scripts, name) for name in AccountScripts.__dataclass_fields__]

    @staticmethod
    def command(script: Script, names: Any, arguments: Any) -> Command:
        return ("EVALSHA", script.sha, len(names), *names, *arguments)


def packed(command: Command) -> bytes:
    return command if isinstance(command, bytes) else hiredis.pack_command(command)
