"""What becomes of an entry of the journal, by what the store says."""

from collections import deque

import pytest

from gateway.metering.journal_file import Batch, Entry
from gateway.metering.replay import BATCH, Replayer, passes
from gateway.store.errors import StoreAway, StoreReplyError
from tests.unit.metering.made import FakeAccounts, FakeRejected, entries


class FakeBacklog:
    """Entries in memory; notes how many were asked for at once."""

    def __init__(self, payloads: list[bytes]) -> None:
        self.left = deque(payloads)
        self.limits: list[int] = []

    async def read(self, limit: int) -> Batch:
        self.limits.append(limit)
        return Batch([Entry(payload, 0) for payload in list(self.left)[:limit]], 0)

    async def advance(self, batch: Batch, done: int) -> None:  # noqa: ARG002  # the port's signature
        for _ in range(done):
            self.left.popleft()


class Bench:
    def __init__(self, *request_ids: str) -> None:
        self.accounts = FakeAccounts()
        self.rejected = FakeRejected()
        self.replayer = Replayer(self.accounts, self.rejected)
        self.backlog = FakeBacklog(entries(*request_ids))

    async def drain(self) -> bool:
        return await self.replayer.drain(self.backlog)


async def test_all_is_replayed_in_order():
    ids = [f"req_{number}" for number in range(2 * BATCH)]
    bench = Bench(*ids)
    assert await bench.drain()
    assert bench.accounts.ids == ids
    assert not bench.backlog.left


async def test_nothing_is_lost_while_the_store_is_away_and_it_is_asked_once():
    bench = Bench("req_1", "req_2", "req_3")
    bench.accounts.is_away = True
    assert not await bench.drain()
    assert bench.accounts.asked == 1
    assert len(bench.backlog.left) == 3
    bench.accounts.is_away = False
    assert await bench.drain()
    assert bench.accounts.ids == ["req_1", "req_2", "req_3"]


async def test_a_store_that_goes_away_in_the_middle_keeps_the_rest():
    bench = Bench("req_1", "req_2", "req_3", "req_4")
    bench.accounts.refuses["req_3"] = StoreAway("gone")
    assert not await bench.drain()
    assert bench.backlog.left == deque(entries("req_3", "req_4"))
    bench.accounts.refuses.clear()
    assert await bench.drain()
    assert bench.accounts.ids == ["req_1", "req_2", "req_4", "req_3"]  # the fourth was tried, and is so again
    assert bench.accounts.asked == 6


@pytest.mark.parametrize(
    "error",
    [
        StoreReplyError("ERR user_script:12: attempt to index a nil value"),
        StoreReplyError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        KeyError("a bug of ours"),
    ],
)
async def test_what_is_refused_for_good_is_set_aside_and_holds_up_nobody(error):
    bench = Bench("req_1", "req_2", "req_3")
    bench.accounts.refuses["req_2"] = error
    assert await bench.drain()
    assert bench.accounts.ids == ["req_1", "req_3"]
    assert bench.rejected.kept == ["req_2"]
    assert bench.accounts.asked == 3


async def test_an_entry_of_another_form_is_set_aside():
    bench = Bench("req_1")
    bench.backlog.left.appendleft(b'{"newer": true}')
    assert await bench.drain()
    assert bench.accounts.ids == ["req_1"]
    assert bench.rejected.kept == [None]


async def test_what_cannot_be_set_aside_stays():
    class FullDisk(FakeRejected):
        async def keep(self, *_: object) -> None:
            raise OSError("no room")

    bench = Bench("req_1")
    bench.accounts.refuses["req_1"] = StoreReplyError("ERR never")
    bench.replayer = Replayer(bench.accounts, FullDisk())
    with pytest.raises(OSError, match="no room"):
        await bench.drain()
    assert len(bench.backlog.left) == 1


@pytest.mark.parametrize(
    ("error", "does"),
    [
        (StoreAway("x"), True),
        (StoreReplyError("LOADING the dataset in memory"), True),
        (StoreReplyError("OOM command not allowed when used memory > 'maxmemory'."), True),
        (StoreReplyError("MISCONF Errors writing to the AOF file: No space left on device"), True),
        (StoreReplyError("READONLY You can't write against a read only replica."), True),
        (StoreReplyError("CLUSTERDOWN Hash slot not served"), True),
        (StoreReplyError("NOAUTH Authentication required."), True),
        (StoreReplyError("ERR Number of keys can't be negative"), False),
        (StoreReplyError("CROSSSLOT Keys in request don't hash to the same slot"), False),
        (ValueError("x"), False),
    ],
)
def test_which_errors_pass(error, does):
    assert passes(error) is does
