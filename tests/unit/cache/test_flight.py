"""One answer and its readers: each at its own pace, none in another's way."""

import asyncio

import pytest

from gateway.cache.flight import LEAST_KEPT_BYTES, Flight, Follower, Head, Tail
from gateway.domain.errors import StreamBroken
from tests.support.fake_upstream import finish, role, text, usage

HEAD = Head("stream", "gpt", "openai")


class Client:
    """Takes bytes; lags after `room` of them."""

    def __init__(self, follower: Follower, room: int | None = None) -> None:
        self.read = b""
        self._follower = follower
        self._room = room
        follower.connect(self)

    def write(self, data: bytes) -> None:
        self.read += data
        if self._room is not None and len(self.read) > self._room:
            self._follower.pause()

    def catch_up(self, room: int | None = None) -> None:
        self._room = room
        self._follower.resume()


class Upstream:
    """Writes down what it is told."""

    def __init__(self, flight: Flight) -> None:
        self.told: list[str] = []
        flight.source = self

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def abandoned(self) -> None:
        self.told.append("abandoned")


def join(flight: Flight, *, wants_usage: bool = False) -> Follower:
    return flight.follow(asyncio.get_running_loop(), wants_usage=wants_usage)


def large(letter: str, kib: int = 256) -> bytes:
    return text(letter * kib * 1024)


class TestAll:
    async def test_read_the_same_whenever_they_join(self) -> None:
        flight = Flight(0)
        first = join(flight)
        flight.open(HEAD)
        early = Client(first)
        flight.write(role() + text("a"))
        late = Client(join(flight))
        flight.write(text("b"))
        flight.close(Tail())
        last = Client(join(flight))

        assert early.read == late.read == last.read == role() + text("a") + text("b")
        assert await first.ended() is None

    async def test_wait_until_it_is_known_how_it_begins(self) -> None:
        flight = Flight(0)
        waiting = asyncio.ensure_future(join(flight).opened())
        await asyncio.sleep(0)
        assert not waiting.done()
        flight.open(HEAD)

        await waiting

    async def test_hear_of_a_failure(self) -> None:
        flight = Flight(0)
        follower = join(flight)
        flight.fail(ValueError("x"))
        flight.fail(ValueError("y"))

        await follower.opened()
        assert str(flight.failure) == "x"

    async def test_hear_how_it_broke_off(self) -> None:
        flight = Flight(0)
        follower = join(flight)
        flight.open(HEAD)
        client = Client(follower)
        flight.write(text("a"))
        flight.close(Tail(error=("stream_stalled", "Too late.")))
        error = await follower.ended()

        assert client.read == text("a")
        assert error is not None
        assert (error.code, str(error)) == ("stream_stalled", "Too late.")

    async def test_a_failure_after_the_beginning_is_a_stream_that_broke_off(self) -> None:
        flight = Flight(0)
        follower = join(flight)
        flight.open(HEAD)
        Client(follower)
        flight.fail(ValueError("x"))
        error = await follower.ended()

        assert error is not None
        assert error.code == "stream_truncated"

    async def test_usage_is_for_those_who_asked(self) -> None:
        flight = Flight(0)
        flight.open(HEAD)
        asked, others = Client(join(flight, wants_usage=True)), Client(join(flight))
        flight.write(text("a") + finish() + usage())
        late = Client(join(flight))

        assert asked.read == text("a") + finish() + usage()
        assert others.read == late.read == text("a") + finish()

    async def test_comments_are_for_those_who_are_there(self) -> None:
        flight = Flight(0)
        flight.open(HEAD)
        there = Client(join(flight))
        flight.write(text("a"))
        flight.write(b": keep-alive\n\n")
        late = Client(join(flight))

        assert there.read == text("a") + b": keep-alive\n\n"
        assert late.read == text("a")
        assert flight.parts() == (text("a"),)

    async def test_what_ends_before_a_client_is_connected_is_read_all_the_same(self) -> None:
        flight = Flight(0)
        follower = join(flight)
        flight.open(HEAD)
        flight.write(text("a"))
        flight.close(Tail())
        assert not follower.is_over
        client = Client(follower)

        assert client.read == text("a")
        assert await follower.ended() is None

    async def test_one_body(self) -> None:
        flight = Flight(0)
        follower = join(flight)
        flight.open(Head("json", "gpt", "openai"))
        flight.body(b"{}")
        follower.connect(None)
        assert not follower.is_over
        flight.close(Tail())

        assert await follower.ended() is None
        assert flight.parts() == (b"{}",)


class TestPace:
    async def test_a_slow_one_holds_nobody_up(self) -> None:
        flight = Flight(0)
        flight.open(HEAD)
        slow, fast = Client(join(flight), room=0), Client(join(flight))
        for letter in "abc":
            flight.write(text(letter))

        assert slow.read == text("a")
        assert fast.read == text("a") + text("b") + text("c")
        slow.catch_up()
        assert slow.read == fast.read

    async def test_a_slow_one_reads_the_end_before_it_ends(self) -> None:
        flight = Flight(0)
        flight.open(HEAD)
        follower = join(flight)
        slow = Client(follower, room=0)
        flight.write(text("a"))
        flight.write(text("b"))
        flight.close(Tail())
        assert not follower.is_over
        slow.catch_up()

        assert follower.is_over
        assert slow.read == text("a") + text("b")

    async def test_much_is_written_in_pieces_so_that_a_slow_one_can_say_so(self) -> None:
        flight = Flight(0)
        flight.open(HEAD)
        for letter in "abcd":
            flight.write(large(letter, 100))
        slow = Client(join(flight), room=0)

        assert len(slow.read) == len(large("a", 100))

    async def test_one_that_is_too_far_behind_the_others_is_let_go(self) -> None:
        flight = Flight(0)
        upstream = Upstream(flight)
        flight.open(HEAD)
        follower = join(flight)
        slow, fast = Client(follower, room=0), Client(join(flight))
        for letter in "abcdef":
            flight.write(large(letter))
        error = await follower.ended()

        assert error is not None
        assert error.code == "stream_truncated"
        assert slow.read == large("a")
        assert fast.read == b"".join(large(letter) for letter in "abcdef")
        assert upstream.told == []

    async def test_one_that_is_about_to_be_connected_is_waited_for(self) -> None:
        flight = Flight(0)
        upstream = Upstream(flight)
        flight.open(HEAD)
        follower = join(flight)
        for letter in "abcdef":  # all of it in one moment
            flight.write(large(letter))
        assert upstream.told == ["pause"]
        assert not follower.is_over
        client = Client(follower)

        assert client.read == b"".join(large(letter) for letter in "abcdef")
        assert upstream.told == ["pause", "resume"]

    async def test_one_that_wants_the_whole_is_let_go_where_that_is_too_long(self) -> None:
        flight = Flight(0)
        flight.open(HEAD)
        whole, client = join(flight), Client(join(flight))
        whole.connect(None)
        for letter in "abcdef":
            flight.write(large(letter))

        assert whole.is_over
        assert len(client.read) == 6 * len(large("a"))

    async def test_the_source_waits_while_all_are_far_behind(self) -> None:
        flight = Flight(0)
        upstream = Upstream(flight)
        flight.open(HEAD)
        one, other = Client(join(flight), room=0), Client(join(flight), room=0)
        for letter in "abcd":
            flight.write(large(letter))
        assert upstream.told == ["pause"]
        one.catch_up()

        assert upstream.told == ["pause", "resume"]
        other.catch_up()
        assert one.read == other.read

    async def test_what_is_too_long_to_be_kept_cannot_be_joined(self) -> None:
        flight = Flight(0)
        flight.open(HEAD)
        client = Client(join(flight))
        for letter in "abcde":
            flight.write(large(letter))

        assert not flight.is_whole
        assert sum(map(len, flight.parts())) <= LEAST_KEPT_BYTES
        assert len(client.read) == 5 * len(large("a"))
        with pytest.raises(IndexError):
            flight.part(0)


class TestLeaving:
    async def test_one_of_several_changes_nothing(self) -> None:
        flight = Flight(0)
        upstream = Upstream(flight)
        flight.open(HEAD)
        leaving, staying = join(flight), join(flight)
        gone, there = Client(leaving), Client(staying)
        flight.write(text("a"))
        leaving.client_gone()
        flight.write(text("b"))

        assert gone.read == text("a")
        assert there.read == text("a") + text("b")
        assert upstream.told == []
        error = await leaving.ended()
        assert error is not None
        assert error.code == "client_left"

    async def test_the_last_one_is_told_of(self) -> None:
        flight = Flight(0)
        upstream = Upstream(flight)
        one, other = join(flight), join(flight)
        one.leave()
        other.leave()
        other.leave()

        assert upstream.told == ["abandoned"]
        assert not flight.has_followers

    async def test_after_the_end_nobody_is_told(self) -> None:
        flight = Flight(0)
        upstream = Upstream(flight)
        follower = join(flight)
        flight.open(HEAD)
        flight.close(Tail())
        follower.leave()

        assert upstream.told == []

    async def test_a_process_that_stops_ends_them(self) -> None:
        flight = Flight(0)
        follower = join(flight)
        follower.stop(StreamBroken("gateway_draining", "Stopping."))
        error = await follower.ended()

        assert error is not None
        assert error.code == "gateway_draining"
