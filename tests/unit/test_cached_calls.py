"""Calls that the cache has a part in: kept, replayed, shared in flight, and what happens when it fails."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.cache import CacheAsk, CachePolicy
from gateway.domain.errors import (
    CacheMiss,
    Draining,
    RateLimited,
    StoreUnavailable,
    StreamBroken,
    UpstreamRejected,
    UpstreamsFailed,
)
from tests.support.cache_store import MemoryCacheStore
from tests.support.fake_upstream import finish, role, text
from tests.unit.cached_kit import ALICE, ANSWER, HELLO, Upstream, Worker, all_done, soon

STREAM = b"".join(HELLO)
SHOWN = b"".join(HELLO[:-1])


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryCacheStore:
    monkeypatch.setattr("gateway.cache.publisher._GAP_S", 0.0)
    return MemoryCacheStore()


class TestHit:
    async def test_json_twice(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(ANSWER)
        worker = Worker(store, upstream)
        first = await worker.asks().done()
        worker.now += 5
        second = await worker.asks().done()

        assert (first.word, second.word) == ("miss", "hit")
        assert first.client.body == second.client.body == ANSWER
        assert (upstream.calls, upstream.free) == (1, 1)
        assert (first.facts.age_s, second.facts.age_s) == (None, 5)
        assert (second.facts.model, second.facts.upstream) == ("gpt-4o", "openai")
        assert second.facts.saved_nanousd > 0
        assert second.facts.usage is None
        assert worker.counted == ["miss", "hit"]

    async def test_a_stream_twice(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(*HELLO)
        worker = Worker(store, upstream)
        first = await worker.asks(stream=True).done()
        second = await worker.asks(stream=True).done()
        third = await worker.asks(stream=True, wants_usage=True).done()

        assert first.client.events == second.client.events == SHOWN
        assert third.client.events == STREAM
        assert (first.client.is_finished, second.client.is_finished, second.client.error) == (
            True,
            True,
            None,
        )
        assert upstream.calls == 1

    async def test_a_stream_as_json_and_json_as_a_stream(self, store: MemoryCacheStore) -> None:
        worker = Worker(store, Upstream(*HELLO))
        await worker.asks(stream=True).done()
        as_json = await worker.asks().done()
        other = Worker(MemoryCacheStore(), Upstream(ANSWER))
        await other.asks().done()
        as_stream = await other.asks(stream=True, wants_usage=True).done()

        assert as_json.word == as_stream.word == "hit"
        answer = json.loads(as_json.client.body or b"")
        assert answer["choices"][0]["message"]["content"] == "Hello"
        assert answer["usage"]["total_tokens"] == 9
        assert b'"content":"Hello"' in as_stream.client.events
        assert b'"usage":{' in as_stream.client.events

    async def test_of_another_process(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(ANSWER)
        await Worker(store, upstream).asks().done()

        assert (await Worker(store, upstream).asks().done()).word == "hit"

    async def test_paced(self, store: MemoryCacheStore) -> None:
        worker = Worker(store, Upstream(*HELLO))
        await worker.asks(stream=True).done()
        began = asyncio.get_running_loop().time()
        again = await worker.asks(stream=True, policy=CachePolicy(b"fingerprint", replay_pace_ms=5)).done()

        assert again.client.events == SHOWN
        assert asyncio.get_running_loop().time() - began >= 0.02

    async def test_a_client_that_leaves_a_replay_ends_it(self, store: MemoryCacheStore) -> None:
        worker = Worker(store, Upstream(*HELLO))
        await worker.asks(stream=True).done()
        again = worker.asks(stream=True, policy=CachePolicy(b"fingerprint", replay_pace_ms=60_000))
        await soon()
        assert again.client.reader is not None
        again.client.reader.client_gone()
        await again.done()

        assert again.client.events == HELLO[0]
        assert again.facts.error_type == "client_left"

    async def test_limits_come_first(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(ANSWER)
        worker = Worker(store, upstream)
        await worker.asks().done()
        upstream.refuses = RateLimited("Too many.", "requests", 1.0)

        with pytest.raises(RateLimited):
            await worker.asks().done()


class TestIsolation:
    async def test_another_key(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(ANSWER)
        worker = Worker(store, upstream)
        await worker.asks().done()
        bob = replace(ALICE, key_id="01bobbobbob1")

        assert (await worker.asks(principal=bob).done()).word == "miss"

    async def test_a_team_shares_where_both_keys_say_so(self, store: MemoryCacheStore) -> None:
        worker = Worker(store, Upstream(ANSWER))
        alice = replace(ALICE, cache_scope="team")
        bob = replace(alice, key_id="01bobbobbob1")
        await worker.asks(principal=alice).done()

        assert (await worker.asks(principal=bob).done()).word == "hit"
        assert (await worker.asks(principal=replace(bob, cache_scope="key")).done()).word == "miss"
        assert (await worker.asks(principal=replace(bob, team="blue")).done()).word == "miss"

    async def test_a_changed_alias(self, store: MemoryCacheStore) -> None:
        worker = Worker(store, Upstream(ANSWER))
        await worker.asks().done()

        assert (await worker.asks(policy=CachePolicy(b"another")).done()).word == "miss"

    async def test_a_purge(self, store: MemoryCacheStore) -> None:
        worker = Worker(store, Upstream(ANSWER))
        await worker.asks().done()
        store.generation = store.generation._replace(alias=7)

        assert (await worker.asks().done()).word == "miss"
        assert store.in_the_air == 0
        assert (await worker.asks().done()).word == "hit"

    async def test_a_purge_leaves_no_flight_behind(self, store: MemoryCacheStore) -> None:
        worker = Worker(store, Upstream(ANSWER))
        await worker.asks().done()  # so that it knows the generations
        store.entries.clear()
        store.generation = store.generation._replace(scope=7)
        await worker.asks().done()

        assert store.in_the_air == 0

    async def test_another_secret(self, store: MemoryCacheStore) -> None:
        await Worker(store, Upstream(ANSWER)).asks().done()

        assert (await Worker(store, Upstream(ANSWER), secret=b"t").asks().done()).word == "miss"


class TestKept:
    @pytest.mark.parametrize(
        "steps",
        [
            (role(), text("cut"), finish("length")),
            (role(), text("no"), finish("content_filter")),
            (role(), text("half"), StreamBroken("stream_truncated", "cut")),
        ],
        ids=["cut by its cap", "filtered", "truncated"],
    )
    async def test_only_whole_answers(self, store: MemoryCacheStore, steps: tuple[Any, ...]) -> None:
        upstream = Upstream(*steps)
        worker = Worker(store, upstream)
        first = await worker.asks(stream=True).done()
        second = await worker.asks(stream=True).done()

        assert (first.word, second.word) == ("miss", "miss")
        assert upstream.calls == 2
        assert not store.entries

    async def test_no_fallback(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(ANSWER, fallback="server_error")
        worker = Worker(store, upstream)
        await worker.asks().done()  # the same model after a failed try of it: kept
        assert len(store.entries) == 1

    async def test_nothing_too_long(self, store: MemoryCacheStore) -> None:
        worker = Worker(store, Upstream(ANSWER))
        await worker.asks(policy=CachePolicy(b"", max_entry_bytes=10)).done()

        assert not store.entries

    async def test_as_long_as_alias_and_caller_say(self, store: MemoryCacheStore) -> None:
        worker = Worker(store, Upstream(ANSWER))
        await worker.asks(ask=CacheAsk(ttl_s=5)).done()
        assert list(store.ttls.values()) == [5]
        worker.now += 6

        assert (await worker.asks(ask=CacheAsk(ttl_s=5)).done()).word == "miss"
        assert (await worker.asks().done()).word == "hit"
        worker.now += 100
        assert (await worker.asks(policy=CachePolicy(b"fingerprint", ttl_s=99)).done()).word == "miss"

    async def test_what_broke_is_dropped_and_made_anew(self, store: MemoryCacheStore) -> None:
        worker = Worker(store, Upstream(ANSWER))
        await worker.asks().done()
        (cache_key,) = store.entries
        store.entries[cache_key] = store.entries[cache_key][:-1]
        again = await worker.asks().done()

        assert again.word == "miss"
        assert again.client.body == ANSWER
        assert worker.counted == ["miss", "corrupt", "miss"]
        assert (await worker.asks().done()).word == "hit"


class TestWishes:
    @pytest.mark.parametrize(
        "request_fields", [{"temperature": 1}, {"ask": CacheAsk("no-store")}, {"policy": None}]
    )
    async def test_bypass(self, store: MemoryCacheStore, request_fields: dict[str, Any]) -> None:
        upstream = Upstream(ANSWER)
        worker = Worker(store, upstream)
        for _ in range(2):
            assert (await worker.asks(**request_fields).done()).word == "bypass"
        assert upstream.calls == 2
        assert not store.entries

    async def test_no_cache_takes_nothing_and_leaves_its_answer(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(ANSWER)
        worker = Worker(store, upstream)
        for _ in range(2):
            assert (await worker.asks(ask=CacheAsk("no-cache")).done()).word == "miss"
        assert upstream.calls == 2
        assert (await worker.asks().done()).word == "hit"

    async def test_only(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(ANSWER)
        worker = Worker(store, upstream)
        with pytest.raises(CacheMiss):
            await worker.asks(ask=CacheAsk("only")).done()
        with pytest.raises(CacheMiss):
            await worker.asks(ask=CacheAsk("only"), temperature=1).done()
        assert upstream.calls == 0
        assert store.in_the_air == 0
        await worker.asks().done()

        assert (await worker.asks(ask=CacheAsk("only")).done()).word == "hit"
        upstream.refuses = RateLimited("Too many.", "requests", 1.0)
        with pytest.raises(RateLimited):
            await worker.asks(ask=CacheAsk("only"), temperature=1).done()

    async def test_without_a_secret_nothing_is_kept(self, store: MemoryCacheStore) -> None:
        assert (await Worker(store, Upstream(ANSWER), secret=None).asks().done()).word == "bypass"


class TestShared:
    async def test_all_at_once_in_three_processes(self, store: MemoryCacheStore) -> None:
        go = asyncio.Event()
        upstream = Upstream(*HELLO[:2], go, *HELLO[2:])
        workers = [Worker(store, upstream) for _ in range(3)]
        requests = [workers[number % 3].asks(stream=True) for number in range(60)]
        await soon()
        assert all(request.client.events == b"".join(HELLO[:2]) for request in requests)  # live
        go.set()
        await all_done(requests)

        assert upstream.calls == 1
        assert sorted({request.word for request in requests if request.word}) == ["miss", "shared"]
        assert all(request.client.events == SHOWN for request in requests)
        assert all(request.client.error is None and request.client.is_finished for request in requests)
        assert upstream.free == 59
        assert all(request.facts.saved_nanousd > 0 for request in requests if request.word == "shared")
        assert all(request.facts.upstream_s > 0 for request in requests if request.word == "shared")

    async def test_json_and_streams_share_one_call(self, store: MemoryCacheStore) -> None:
        for steps, leads_with_stream in (((ANSWER,), False), (HELLO, True)):
            store.entries.clear()
            go = asyncio.Event()
            upstream = Upstream(go, *steps)
            here, there = Worker(store, upstream), Worker(store, upstream)
            leader = here.asks(stream=leads_with_stream)
            await soon()
            others = [w.asks(stream=not leads_with_stream) for w in (here, there)]
            await soon()
            go.set()
            await all_done([leader, *others])

            assert upstream.calls == 1
            for other in others:
                assert b"Hel" in (other.client.body or other.client.events)
                assert other.client.answer is not None
                assert other.client.answer.header(b"openai-processing-ms") is None

    async def test_usage_is_for_those_who_asked(self, store: MemoryCacheStore) -> None:
        go = asyncio.Event()
        worker, other = (Worker(store, Upstream(go, *HELLO)) for _ in range(2))
        leader = worker.asks(stream=True)
        await soon()
        asked = [w.asks(stream=True, wants_usage=True) for w in (worker, other)]
        await soon()
        go.set()
        await all_done([leader, *asked])

        assert leader.client.events == SHOWN
        assert all(request.client.events == STREAM for request in asked)

    @pytest.mark.parametrize("elsewhere", [False, True], ids=["same process", "another process"])
    async def test_a_leader_that_leaves_takes_nobody_along(
        self, store: MemoryCacheStore, elsewhere: bool
    ) -> None:
        go = asyncio.Event()
        upstream = Upstream(*HELLO[:2], go, *HELLO[2:])
        worker = Worker(store, upstream)
        leader = worker.asks(stream=True)
        await soon()
        follower = (Worker(store, upstream) if elsewhere else worker).asks(stream=True)
        await soon()
        assert leader.client.reader is not None
        leader.client.reader.client_gone()
        await soon()
        go.set()
        await all_done([leader, follower])

        assert (upstream.calls, upstream.left) == (1, 0)
        assert follower.client.events == SHOWN
        assert len(store.entries) == 1

    async def test_one_without_followers_takes_the_upstream_along(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(*HELLO[:2], asyncio.Event())
        leader = Worker(store, upstream).asks(stream=True)
        await soon()
        assert leader.client.reader is not None
        leader.client.reader.client_gone()
        await leader.done()

        assert upstream.left == 1
        assert store.in_the_air == 0

    async def test_before_the_answer_too(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(asyncio.Event())
        leader = Worker(store, upstream).asks()
        await soon()
        leader.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader.task

        assert upstream.left == 1
        assert store.in_the_air == 0

    async def test_a_follower_that_leaves_changes_nothing(self, store: MemoryCacheStore) -> None:
        go = asyncio.Event()
        upstream = Upstream(*HELLO[:2], go, *HELLO[2:])
        worker, other = Worker(store, upstream), Worker(store, upstream)
        leader = worker.asks(stream=True)
        await soon()
        leaving = [w.asks(stream=True) for w in (worker, other)]
        await soon()
        for request in leaving:
            assert request.client.reader is not None
            request.client.reader.client_gone()
        await all_done(leaving)
        go.set()
        await leader.done()

        assert leader.client.events == SHOWN
        assert all(request.facts.error_type == "client_left" for request in leaving)

    @pytest.mark.parametrize("elsewhere", [False, True], ids=["same process", "another process"])
    async def test_a_verdict_is_everyones(self, store: MemoryCacheStore, elsewhere: bool) -> None:
        go = asyncio.Event()
        upstream = Upstream(go, UpstreamRejected(400, {"message": "Bad.", "code": None}))
        worker = Worker(store, upstream)
        leader = worker.asks()
        await soon()
        follower = (Worker(store, upstream) if elsewhere else worker).asks()
        await soon()
        go.set()
        for request in (leader, follower):
            with pytest.raises(UpstreamRejected, match="Bad"):
                await request.task

        assert upstream.calls == 1

    @pytest.mark.parametrize("elsewhere", [False, True], ids=["same process", "another process"])
    async def test_a_failure_makes_another_one_lead(self, store: MemoryCacheStore, elsewhere: bool) -> None:
        go = asyncio.Event()
        upstream = Upstream(go, UpstreamsFailed("All failed."))
        worker = Worker(store, upstream)
        leader = worker.asks()
        await soon()
        follower = (Worker(store, upstream) if elsewhere else worker).asks()
        await soon()
        first_id = follower.facts.request_id
        upstream.steps = (ANSWER,)
        go.set()
        with pytest.raises(UpstreamsFailed):
            await leader.task
        await follower.done()

        assert follower.client.body == ANSWER
        assert follower.word == "miss"
        assert (upstream.calls, upstream.withdrawn) == (2, 1)
        assert follower.facts.request_id != first_id

    async def test_a_dead_leader_is_replaced_before_the_answer_begins(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(asyncio.Event())
        Worker(store, upstream).asks(stream=True)
        await soon()
        followers = [Worker(store, upstream).asks(stream=True) for _ in range(2)]
        await soon()
        upstream.steps = HELLO
        store.kill()
        await all_done(followers)

        assert upstream.calls == 2
        assert all(request.client.events == SHOWN for request in followers)

    async def test_and_ends_what_has_begun_with_one_error(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(*HELLO[:2], asyncio.Event())
        Worker(store, upstream).asks(stream=True)
        await soon()
        follower = Worker(store, upstream).asks(stream=True)
        await soon()
        store.kill()
        await follower.done()

        assert follower.client.events == b"".join(HELLO[:2])
        assert follower.client.error is not None
        assert follower.client.error.code == "stream_truncated"

    async def test_forged_frames_are_no_answer(self, store: MemoryCacheStore) -> None:
        go = asyncio.Event()
        upstream = Upstream(*HELLO[:2], go, *HELLO[2:])
        leader = Worker(store, upstream).asks(stream=True)
        await soon()
        follower = Worker(store, upstream).asks(stream=True)
        await soon()
        (name,) = store._current.values()
        store._flights[name].frames.append(b"forged")
        store._tell()
        await follower.done()
        go.set()
        await leader.done()

        assert follower.client.error is not None
        assert b"forged" not in follower.client.events

    async def test_callers_with_wishes_fly_alone(self, store: MemoryCacheStore) -> None:
        go = asyncio.Event()
        upstream = Upstream(go, ANSWER)
        worker = Worker(store, upstream)
        requests = [worker.asks(), worker.asks(ask=CacheAsk("no-cache"))]
        await soon()
        assert upstream.calls == 2
        go.set()
        await all_done(requests)

    async def test_a_drain_ends_what_streams(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(*HELLO[:2], asyncio.Event())
        Worker(store, upstream).asks(stream=True)
        await soon()
        worker = Worker(store, upstream)
        follower = worker.asks(stream=True)
        await soon()
        worker.calls.stop_calls()
        await follower.done()

        assert follower.client.error is not None
        assert follower.client.error.code == "gateway_draining"


class TestAway:
    async def test_is_a_miss_and_nothing_else(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(*HELLO)
        worker = Worker(store, upstream)
        store.is_away = True
        request = await worker.asks(stream=True).done()

        assert request.word == "miss"
        assert request.client.events == SHOWN
        assert worker.counted == ["error", "miss"]
        with pytest.raises(CacheMiss):
            await worker.asks(ask=CacheAsk("only")).done()

    async def test_unless_the_policy_says_closed(self, store: MemoryCacheStore) -> None:
        store.is_away = True
        closed = {"on_store_failure": {"cache": "closed"}}

        with pytest.raises(StoreUnavailable):
            await Worker(store, Upstream(ANSWER)).asks(settings=closed).done()

    async def test_in_the_middle_the_leader_does_not_notice(self, store: MemoryCacheStore) -> None:
        go = asyncio.Event()
        worker = Worker(store, Upstream(*HELLO[:2], go, *HELLO[2:]))
        leader = worker.asks(stream=True)
        await soon()
        store.is_away = True
        go.set()
        await leader.done()

        assert leader.client.events == SHOWN
        assert leader.client.error is None

    async def test_a_follower_of_another_process_does(self, store: MemoryCacheStore) -> None:
        upstream = Upstream(*HELLO[:2], asyncio.Event())
        Worker(store, upstream).asks(stream=True)
        await soon()
        worker = Worker(store, upstream)
        follower = worker.asks(stream=True)
        await soon()
        store.is_away = True
        store._tell()
        await worker.calls.aclose()
        await follower.done()

        assert follower.client.error is not None

    async def test_a_bug_is_told_to_all(self, store: MemoryCacheStore) -> None:
        with pytest.raises(ZeroDivisionError):
            await Worker(store, Upstream(ZeroDivisionError())).asks().done()
        with pytest.raises(Draining):
            await Worker(store, Upstream(asyncio.CancelledError())).asks().done()
