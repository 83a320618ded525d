"""A real cluster for tests: valkey-servers in cluster mode, joined by commands over their sockets.

What a test does to a `ValkeyServer` it may do to a `ValkeyCluster`: `url`, `run`, `flush`, `pause`, `resume`.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self

from redis.crc import key_slot

from gateway.store.slots import slot_of
from tests.support.valkey import RESTRICTED, ValkeyServer, _free_port

SLOTS = 16384
START_DEADLINE_S = 20
STEP_S = 0.01


class ClusterNode(ValkeyServer):
    """One server of a cluster. Its bus listens on a port of its own: the usual one may not exist."""

    def __init__(
        self, *options: str, node_timeout_ms: int, password: str | None, restricted: bool = RESTRICTED
    ) -> None:
        self.bus_port = _free_port()
        auth = ("--primaryauth", password) if password else ()
        super().__init__(
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)),
            *("--cluster-node-timeout", str(node_timeout_ms)),
            # A shard that is away takes none of the others with it.
            *("--cluster-require-full-coverage", "no", "--cluster-allow-replica-migration", "no"),
            # A replica that has just started, and one whose primary was long away, may take over too.
            *("--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"),
            *auth,
            *options,
            tcp=True,
            password=password,
            restricted=restricted,
        )

    @property
    def node_id(self) -> bytes:
        """What the other nodes know it by."""
        reply: bytes = self.run("CLUSTER", "MYID")
        return reply

    def info(self, section: str) -> dict[str, str]:
        """INFO, or with "CLUSTER" the cluster's own."""
        command = ("CLUSTER", "INFO") if section == "CLUSTER" else ("INFO", section)
        lines = self.run(*command).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def is_running(self) -> bool:
        return self._process is not None

    def is_primary(self) -> bool:
        return self.run("ROLE")[0] == b"master"


class ValkeyCluster:
    """A context manager; `nodes` are the primaries, in the order of their slots, then their replicas.

    Args:
        replicas: of how many of the primaries, from the first on, there is a replica.
        node_timeout_ms: how long a node is silent before the others call it failed.
    """

    def __init__(
        self,
        *options: str,
        primaries: int = 3,
        replicas: int = 0,
        node_timeout_ms: int = 15_000,
        password: str | None = None,
        restricted: bool = RESTRICTED,
    ) -> None:
        self.primaries = primaries
        self.is_restricted = restricted
        self._password = password
        self.nodes = [
            ClusterNode(*options, node_timeout_ms=node_timeout_ms, password=password, restricted=restricted)
            for _ in range(primaries + replicas)
        ]
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        return self.url_of(*self.nodes)

    def url_of(self, *nodes: ValkeyServer) -> str:
        """A URL that names only these."""
        return (
            f"redis+cluster://{self.nodes[0].userinfo}{','.join(f'127.0.0.1:{node.port}' for node in nodes)}"
        )

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            self._join()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def primary_of(self, key: str | int) -> ClusterNode:
        """The node that serves a key, or a slot, by its own account."""
        slot = key if isinstance(key, int) else key_slot(key.encode())
        for node in self.nodes:
            if node.is_running() and node.is_primary() and _holds(node, slot):
                return node
        raise LookupError(key)

    def replica_of(self, primary: ClusterNode) -> ClusterNode:
        """The replica of one of the first primaries, as the cluster was made."""
        return self.nodes[self.primaries + self.nodes.index(primary)]

    def begin_move(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        """From here on the slot's keys may be at either."""
        target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", source.node_id)
        source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", target.node_id)

    def move_keys(self, slot: int, source: ClusterNode, target: ClusterNode, count: int = 1) -> int:
        """Move up to `count` keys; returns how many there were."""
        keys = source.run("CLUSTER", "GETKEYSINSLOT", slot, count)
        for key in keys:
            auth = ("AUTH", self._password) if self._password else ()
            source.run("MIGRATE", "127.0.0.1", target.port, key, 0, 5000, *auth)
        return len(keys)

    def end_move(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        """The target owns the slot: it is told first, then the source, then the others."""
        owner = target.node_id
        others = [node for node in self.nodes if node not in {source, target}]
        for node in (target, source, *others):
            if node.is_running() and node.is_primary():
                node.run("CLUSTER", "SETSLOT", slot, "NODE", owner)

    def move(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        """The whole way."""
        self.begin_move(slot, source, target)
        while self.move_keys(slot, source, target, 100):
            pass
        self.end_move(slot, source, target)

    def run(self, *command: str | bytes | int) -> Any:
        """One command, at the node of its key; what concerns scripts, at all primaries."""
        if command[0] == "SCRIPT":
            replies = [node.run(*command) for node in self.nodes if node.is_primary()]
            return replies[0]
        slot = slot_of(command)
        assert slot is not None, command
        return self.primary_of(slot).run(*command)

    def pause(self) -> None:
        """Stop all nodes from running."""
        for node in self.nodes:
            node.pause()

    def resume(self) -> None:
        """Let all nodes run on."""
        for node in self.nodes:
            node.resume()

    def flush(self) -> None:
        """Forget all data and scripts."""
        for node in self.nodes:
            if node.is_primary():
                node.flush()

    def wait(self, is_so: Callable[[], Any], what: str, within_s: float = START_DEADLINE_S) -> None:
        """Return when it is so; fail where that takes too long."""
        deadline = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < deadline, f"{what} did not come within {within_s} s"
            time.sleep(STEP_S)

    def is_settled(self) -> bool:
        """All nodes that run agree that each slot is served and each replica is in step."""
        running = [node for node in self.nodes if node.is_running()]
        known = {str(len(self.nodes))}
        for node in running:
            info = node.info("CLUSTER")
            facts = (info["cluster_state"], info["cluster_slots_ok"])
            if facts != ("ok", str(SLOTS)) or {info["cluster_known_nodes"]} != known:
                return False
            if node.info("replication").get("master_link_status", "up") != "up":
                return False
        return True

    def _join(self) -> None:
        first, *others = self.nodes
        for number, node in enumerate(self.nodes):
            node.run("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, node in enumerate(self.nodes[: self.primaries]):
            start, end = (SLOTS * each // self.primaries for each in (number, number + 1))
            node.run("CLUSTER", "ADDSLOTSRANGE", start, end - 1)
        for node in others:
            node.run("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus_port)
        count = str(len(self.nodes))
        self.wait(
            lambda: all(node.info("CLUSTER")["cluster_known_nodes"] == count for node in self.nodes),
            "the acquaintance of all nodes",
        )
        for primary, replica in zip(self.nodes, self.nodes[self.primaries :], strict=False):
            replica.run("CLUSTER", "REPLICATE", primary.node_id)
        self.wait(self.is_settled, "a cluster that serves every slot")


def _holds(node: ValkeyServer, slot: int) -> bool:
    own = node.run("CLUSTER", "MYID")
    return any(
        start <= slot <= end and primary[2] == own for start, end, primary, *_ in node.run("CLUSTER", "SLOTS")
    )
