"""The store client when the server stalls, dies, comes back or is not ready."""

import asyncio
import gc
import time

import pytest

from gateway.store.client import Store, StoreAway, StoreReplyError
from tests.support.polling import until
from tests.support.valkey import ValkeyServer

SLACK_S = 0.15

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])  # they wait for real: once is enough


@pytest.fixture
def server():
    with ValkeyServer() as server:
        yield server


@pytest.fixture
async def store(server):
    store = Store(server.url, timeout_s=0.1)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
def states(store):
    seen = []
    store.on_state(seen.append)
    return seen


async def fail(store: Store) -> float:
    """Make a call that fails with `StoreAway`; returns how long that took."""
    began = time.monotonic()
    with pytest.raises(StoreAway):
        await store.call("PING")
    return time.monotonic() - began


async def test_a_stalled_server_fails_calls_in_time_and_opens_the_breaker(store, server, states):
    server.pause()
    for _ in range(4):
        assert 0.09 < await fail(store) < 0.1 + SLACK_S
    assert states == []
    assert 0.09 < await fail(store) < 0.1 + SLACK_S
    await until(lambda: states == ["away"], "the breaker")
    assert await fail(store) < 0.02
    server.resume()
    await until(lambda: store.state == "up", "the way back")
    assert await store.call("PING") == b"PONG"
    assert states == ["away", "up"]


async def test_many_calls_on_a_stalled_server_fail_together(store, server):
    server.pause()
    began = time.monotonic()
    replies = await asyncio.gather(
        *(store.call("ECHO", number) for number in range(200)), return_exceptions=True
    )
    assert time.monotonic() - began < 0.1 + SLACK_S
    assert all(isinstance(reply, StoreAway) for reply in replies)
    assert store.state == "away"


async def test_call_many_on_a_stalled_server_fails_as_one(store, server):
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    server.pause()
    with pytest.raises(StoreAway):
        await store.call_many([("PING",)] * 10)
    await store.aclose()  # a connection holds on to its calls until their replies come
    gc.collect()  # an exception that nobody looked at is reported when its future goes
    assert reported == []


async def test_a_late_reply_is_dropped_and_shifts_nothing(store, server, states):
    server.pause()
    await fail(store)
    lost = store._lane._wire
    server.resume()
    assert await asyncio.gather(*(store.call("ECHO", number) for number in range(20))) == [
        str(number).encode() for number in range(20)
    ]
    assert store._lane._wire is lost
    assert states == []


async def test_a_silent_connection_is_given_up_for_a_new_one(store, server):
    silent = store._lane._wire
    server.pause()
    await fail(store)
    await until(lambda: store._lane._wire is not silent, "the end of the connection")
    server.resume()
    await until(lambda: store._lane._wire is not None, "the next connection")
    assert await store.call("PING") == b"PONG"


async def test_a_slow_reply_does_not_end_a_connection_on_which_others_arrive(store, server):
    wire = store._lane._wire
    asyncio.get_running_loop().call_later(0.6, server.run, "LPUSH", "slow", "x")
    assert await store.call("BLPOP", "slow", 0, timeout_s=5) == [b"slow", b"x"]
    assert store._lane._wire is wire
    assert await store.call("PING") == b"PONG"


async def test_each_call_may_have_its_own_timeout(store, server):
    server.pause()
    began = time.monotonic()
    long = asyncio.create_task(store.call("PING", timeout_s=0.25))
    await asyncio.sleep(0)
    assert 0.09 < await fail(store) < 0.1 + SLACK_S
    with pytest.raises(StoreAway):
        await long
    assert 0.24 < time.monotonic() - began < 0.25 + SLACK_S


async def test_a_loop_that_was_held_up_itself_does_not_blame_the_store(store, states):
    calls = [asyncio.create_task(store.call("ECHO", number)) for number in range(20)]
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251  # the loop is held up, which is the point
    assert await asyncio.gather(*calls) == [str(number).encode() for number in range(20)]
    assert states == []


async def test_a_killed_server_fails_what_was_in_flight_and_is_found_again(store, server, states):
    waiting = asyncio.create_task(store.call("BLPOP", "nothing", 0, timeout_s=30))
    assert await store.call("PING") == b"PONG"
    server.kill()
    with pytest.raises(StoreAway, match="connection was lost"):
        await waiting
    server.start()
    await until(lambda: store._lane._wire is not None, "the next connection")
    assert await store.call("PING") == b"PONG"
    assert states in ([], ["away", "up"])  # by how long the start took


async def test_calls_made_while_disconnected_wait_for_the_connection(store, server):
    store._lane._wire.close("cut by the test")
    assert await asyncio.gather(*(store.call("ECHO", number) for number in range(20))) == [
        str(number).encode() for number in range(20)
    ]


async def test_a_call_that_gave_up_while_disconnected_never_runs(store, server):
    server.kill()
    await until(lambda: store._lane._wire is None, "the loss")
    gave_up = asyncio.create_task(store.call("INCR", "count", timeout_s=0.01))
    cancelled = asyncio.create_task(store.call("INCR", "count", timeout_s=30))
    kept = asyncio.create_task(store.call("INCR", "other", timeout_s=30))
    with pytest.raises(StoreAway):
        await gave_up
    cancelled.cancel()
    server.start()
    assert await kept == 1
    assert await store.call("EXISTS", "count") == 0


async def test_without_any_call_a_dead_server_is_noticed(store, server, states):
    server.kill()
    await until(lambda: states == ["away"], "the breaker")
    server.start()
    await until(lambda: states == ["away", "up"], "the way back")


async def test_a_server_that_loads_its_data_is_away(store, server, states):
    # Half a millisecond a key makes the load last 0.6 s, in steps during which it answers LOADING.
    server.run("CONFIG", "SET", "key-load-delay", 500)
    server.run("CONFIG", "SET", "loading-process-events-interval-bytes", 1024)
    await store.call("EVAL", "for i = 1, 1200 do redis.call('SET', i, i) end", 0, timeout_s=5)
    reload = asyncio.create_task(asyncio.to_thread(server.run, "DEBUG", "RELOAD"))
    await until(lambda: b"loading:1" in server.run("INFO", "persistence"), "the load")
    for _ in range(5):
        with pytest.raises(StoreReplyError) as caught:
            await store.call("PING", timeout_s=5)
        assert caught.value.code == "LOADING"
    assert await fail(store) < 0.02
    assert await reload == b"OK"
    await until(lambda: states == ["away", "up"], "the way back")
