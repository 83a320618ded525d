"""Whom the sentinels are believed to name."""

import asyncio
import time
from dataclasses import dataclass

import pytest

from gateway.store import sentinel as sentinel_module
from gateway.store.errors import StoreAway
from gateway.store.lane import Lane
from gateway.store.sentinel import Primary
from tests.unit.store.scripted import ScriptedCluster, ScriptedNode

NOW, THEN = b"*2\r\n$3\r\nnow\r\n$1\r\n1\r\n", b"*2\r\n$4\r\nthen\r\n$1\r\n1\r\n"
UNKNOWN = b"*-1\r\n"
MASTER, REPLICA = b"*1\r\n$6\r\nmaster\r\n", b"*1\r\n$5\r\nslave\r\n"


@dataclass
class ScriptedSentinels:
    """Stands for a `SentinelAddress`."""

    sentinels: tuple[ScriptedNode, ...]
    server: ScriptedNode
    service: str = "tuned"

    def __str__(self) -> str:
        return "scripted+sentinel://"


@pytest.fixture
def servers():
    return ScriptedCluster()


@pytest.fixture
def address(servers):
    sentinels = ScriptedCluster()
    return ScriptedSentinels(tuple(sentinels.node(f"s{i}", 1) for i in range(3)), servers.node("any", 1))


@pytest.fixture
def primary(address):
    return Primary(address, clock=time.monotonic)


def named(address, *answers):
    for sentinel, answer in zip(address.sentinels, answers, strict=True):
        sentinel.replies = [answer]


async def test_the_sentinels_are_asked_for_the_service(address, primary):
    named(address, NOW, NOW, NOW)
    assert (await primary.find()).host == "now"
    question = [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", b"tuned"]
    assert address.sentinels[0].heard == [[question]]


@pytest.mark.parametrize("answers", [(THEN, NOW, NOW), (NOW, THEN, NOW), (NOW, NOW, THEN)])
async def test_one_that_is_behind_is_outvoted(address, primary, answers):
    named(address, *answers)
    assert (await primary.find()).host == "now"


async def test_a_majority_is_enough(address, primary, monkeypatch):
    monkeypatch.setattr(sentinel_module, "ASK_S", 60)
    named(address, NOW, NOW, None)
    assert (await primary.find()).host == "now"


async def test_one_alone_is_believed_where_no_other_answers(address, primary, monkeypatch):
    monkeypatch.setattr(sentinel_module, "ASK_S", 0.02)
    named(address, None, NOW, UNKNOWN)
    address.sentinels[0].refuses = ConnectionRefusedError("nobody there")
    assert (await primary.find()).host == "now"


async def test_a_service_that_no_sentinel_knows(address, primary):
    named(address, UNKNOWN, UNKNOWN, UNKNOWN)
    with pytest.raises(StoreAway, match=r"sentinel s\d:1 knows no service 'tuned'"):
        await primary.find()


async def test_no_sentinel_at_all(address, primary):
    for sentinel in address.sentinels:
        sentinel.refuses = ConnectionRefusedError("nobody there")
    with pytest.raises(StoreAway, match=r"sentinel s\d:1: nobody there"):
        await primary.find()


async def test_a_sentinel_wants_a_password(address, primary):
    for sentinel in address.sentinels:
        sentinel.greets = b"+OK\r\n-NOAUTH Authentication required.\r\n"
    with pytest.raises(StoreAway, match=r"sentinel s\d:1: NOAUTH in answer to PING"):
        await primary.find()


async def test_asking_leaves_no_connection_behind(address, primary):
    named(address, NOW, NOW, None)
    await primary.find()
    await asyncio.sleep(0.01)
    assert all(each._is_cut for sentinel in address.sentinels for each in sentinel.transports)


@pytest.mark.parametrize(
    ("role", "is_taken"),
    [(MASTER, True), (REPLICA, False), (b"-NOPERM no permissions to run the 'role' command\r\n", True)],
)
async def test_a_server_that_turns_out_to_be_a_replica_is_not_taken(
    address, primary, servers, role, is_taken
):
    address.server.greeting = [("CLIENT", "SETNAME", "x"), ("PING",)]
    servers.node("now", 1).greets = b"+OK\r\n" + role + b"+PONG\r\n"
    named(address, NOW, NOW, NOW)
    lane = Lane(primary, timeout_s=0.1, clock=time.monotonic, on_change=lambda _: None)
    if is_taken:
        await lane.open()
    else:
        with pytest.raises(StoreAway, match=r"scripted.sentinel:// is away: the server is a replica"):
            await lane.open()
    await lane.aclose()
