"""The store client on a real server: what comes back, and that it goes out in one write."""

import asyncio
import hashlib

import pytest

from gateway.store.client import Script, Store, StoreAway, StoreReplyError, pairs
from tests.support.polling import until
from tests.support.valkey import ValkeyServer

DOUBLE = Script.of("double", "return 2 * tonumber(ARGV[1])")


class CountingTransport:
    """Counts what is written, in front of the real transport."""

    def __init__(self, store: Store) -> None:
        wire = store._lane._wire
        assert wire is not None
        self._write = wire.write
        self.writes: list[bytes] = []
        wire.write = self.write

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self._write(data)


async def test_replies_are_bytes_integers_none_and_lists(store):
    assert await store.call("SET", "name", "tuning é") == b"OK"
    assert await store.call("GET", "name") == "tuning é".encode()
    assert await store.call("GET", b"absent") is None
    assert await store.call("INCRBY", "count", 41) == 41
    assert await store.call("MGET", "count", "absent") == [b"41", None]
    assert await store.call("LRANGE", "absent", 0, -1) == []


async def test_a_hash_is_a_flat_list_that_pairs_turns_into_a_dict(store):
    await store.call("HSET", "hash", "a", 1, "b", b"\x00\xff")
    assert pairs(await store.call("HGETALL", "hash")) == {b"a": b"1", b"b": b"\x00\xff"}


async def test_an_error_reply_is_raised_with_its_code(store):
    await store.call("SET", "text", "x")
    with pytest.raises(StoreReplyError, match="WRONGTYPE Operation") as caught:
        await store.call("LPUSH", "text", "y")
    assert caught.value.code == "WRONGTYPE"


async def test_call_many_keeps_error_replies_in_their_places(store):
    replies = await store.call_many([("SET", "text", "x"), ("LPUSH", "text", "y"), ("GET", "text")])
    assert replies[0] == b"OK"
    assert isinstance(replies[1], StoreReplyError)
    assert replies[1].code == "WRONGTYPE"
    assert replies[2] == b"x"
    assert await store.call_many([]) == []


async def test_all_calls_of_a_tick_leave_in_one_write(store):
    transport = CountingTransport(store)
    replies = await asyncio.gather(
        *(store.call("ECHO", number) for number in range(50)),
        store.call_many([("ECHO", 50), ("ECHO", 51)]),
        store.script(DOUBLE, [], [26]),
        return_exceptions=True,
    )
    assert replies[:50] == [str(number).encode() for number in range(50)]
    assert replies[50:] == [[b"50", b"51"], 52]
    # One for all, and one more for the text of the script, which the server did not know.
    assert len(transport.writes) == 2
    assert transport.writes[0].count(b"ECHO") == 52
    assert b"LOAD" in transport.writes[1]
    assert b"EVALSHA" in transport.writes[1]


async def test_every_caller_gets_its_own_reply(store):
    async def caller(number: int) -> None:
        for turn in range(40):
            text = f"{number}:{turn}:".encode() + b"x" * (number * turn % 3000)
            assert await store.call("ECHO", text) == text
            if (number + turn) % 7 == 0:
                await asyncio.sleep(0)

    await asyncio.gather(*(caller(number) for number in range(100)))


async def test_a_cancelled_call_does_not_shift_the_replies_of_others(store):
    async def caller(number: int) -> bytes:
        reply: bytes = await store.call("ECHO", number)
        return reply

    for steps in range(4):  # cancelled before the write, after it, and with the reply on its way
        tasks = [asyncio.create_task(caller(number)) for number in range(20)]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        assert replies[1::2] == [str(number).encode() for number in range(1, 20, 2)]
        assert all(isinstance(reply, (asyncio.CancelledError, bytes)) for reply in replies[::2])


async def test_cancelling_call_many_leaves_no_reply_behind(store):
    task = asyncio.create_task(store.call_many([("ECHO", number) for number in range(10)]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.call("ECHO", "own") == b"own"


@pytest.mark.parametrize("size", [0, 1, 65_535, 5_000_000])
async def test_values_of_any_size(store, size):
    value = (hashlib.sha256(str(size).encode()).digest() * (size // 32 + 1))[:size]
    results = await asyncio.gather(
        store.call("SET", "value", value), store.call("GET", "value"), store.call("STRLEN", "value")
    )
    assert results == [b"OK", value, size]


async def test_a_forgotten_script_is_given_to_the_server_again(store, valkey):
    assert await store.script(DOUBLE, ["{s01}:any"], [2]) == 4
    valkey.run("SCRIPT", "FLUSH", "SYNC")
    assert await asyncio.gather(*(store.script(DOUBLE, [], [number]) for number in range(20))) == [
        2 * number for number in range(20)
    ]


async def test_an_error_inside_a_script_is_its_callers(store):
    broken = Script.of("broken", "return redis.error_reply('TUNED down')")
    for _ in range(2):  # once by way of NOSCRIPT, once directly
        with pytest.raises(StoreReplyError) as caught:
            await store.script(broken, [], [])
        assert caught.value.code == "TUNED"


async def test_an_argument_that_cannot_be_sent_harms_nobody_else(store):
    other = asyncio.create_task(store.call("ECHO", "other"))
    with pytest.raises(UnicodeEncodeError):
        await store.call("ECHO", "\ud800")
    assert await other == b"other"


async def test_tcp_and_a_chosen_database(valkey_tcp):
    store = Store(f"{valkey_tcp.url}/3", timeout_s=5)
    await store.open()
    await store.call("SET", "where", "three")
    assert b"name=tunegate" in await store.call("CLIENT", "INFO")
    await store.aclose()
    assert valkey_tcp.run("GET", "where") is None
    assert b"db3:keys=1" in valkey_tcp.run("INFO", "keyspace")


async def test_a_unix_url_may_name_password_and_database():
    with ValkeyServer(password="p@ss/word") as server:
        store = Store(f"unix://:p%40ss%2Fword@{server.path}?db=2", timeout_s=5)
        await store.open()
        await store.call("SET", "where", "two")
        await store.aclose()
        assert b"db2:keys=1" in server.run("INFO", "keyspace")


async def test_a_user_may_be_named(valkey):
    valkey.run("ACL", "SETUSER", "tuner", "on", ">secret", "~*", "+@all")
    try:
        store = Store(f"unix://tuner:secret@{valkey.path}", timeout_s=5)
        await store.open()
        assert await store.call("ACL", "WHOAMI") == b"tuner"
        await store.aclose()
    finally:
        valkey.run("ACL", "DELUSER", "tuner")


async def test_a_server_that_forbids_naming_a_connection_still_serves(valkey):
    valkey.run("ACL", "SETUSER", "nameless", "on", ">secret", "~*", "+@all", "-client|setname")
    try:
        store = Store(f"unix://nameless:secret@{valkey.path}", timeout_s=5)
        await store.open()
        assert await store.call("PING") == b"PONG"
        await store.aclose()
    finally:
        valkey.run("ACL", "DELUSER", "nameless")


async def test_a_wrong_password_is_refused_and_not_shown(valkey):
    store = Store(f"unix://tuner:hunter2@{valkey.path}", timeout_s=5)
    with pytest.raises(StoreAway, match="WRONGPASS in answer to AUTH") as caught:
        await store.open()
    assert "hunter2" not in str(caught.value)
    assert "tuner:" not in str(caught.value)
    await store.aclose()


async def test_open_fails_where_nobody_listens_and_goes_on_trying(tmp_path):
    server = ValkeyServer()
    store = Store(server.url, timeout_s=5)
    with pytest.raises(StoreAway, match=str(server.path)):
        await store.open()
    assert store.state == "away"
    with pytest.raises(StoreAway):
        await store.call("PING")
    with server:
        await until(lambda: store.state == "up", "the connection")
        assert await store.call("PING") == b"PONG"
        await store.aclose()


async def test_a_closed_client_refuses_calls_and_fails_those_in_flight(valkey):
    store = Store(valkey.url, timeout_s=5)
    with pytest.raises(StoreAway, match="not opened"):
        await store.call("PING")
    await store.open()
    waiting = asyncio.create_task(store.call("BLPOP", "nothing", 0))
    unsent = asyncio.create_task(store.call("PING"))
    await asyncio.sleep(0)
    await store.aclose()
    for task in (waiting, unsent):
        with pytest.raises(StoreAway, match="closed"):
            await task
    with pytest.raises(StoreAway, match="closed"):
        await store.call("PING")
    await store.aclose()
