"""What a worker remembers of keys, for how long, and when it asks again."""

import asyncio
from dataclasses import dataclass, field

import msgspec
import pytest

from gateway.auth import keyring
from gateway.auth.guesses import FREE, Guesses
from gateway.auth.keyring import KeyAway, Keyring
from gateway.auth.record import KeyDigest, KeyRecord
from gateway.auth.virtual_key import digest, format_key
from gateway.domain.errors import BadKey, StoreUnavailable

SECRET = b"the gateway's"
ID = "07abcdefghij"
KEY = format_key(ID, 40 * "a")
OTHER = format_key(ID, 40 * "b")


def record(*keys: str, **fields: object) -> KeyRecord:
    digests = tuple(KeyDigest(digest(SECRET, key)) for key in keys)
    return msgspec.structs.replace(KeyRecord(id=ID, name="n", digests=digests, created_at=0), **fields)


@dataclass
class Source:
    """Holds at most one record; counts what it is asked."""

    record: KeyRecord | None = None
    is_away: bool = False
    reads: int = 0
    uses: list[int] = field(default_factory=list)

    async def read(self, key_id: str) -> KeyRecord | None:
        self.reads += 1
        if self.is_away:
            raise KeyAway
        return self.record if self.record is not None and self.record.id == key_id else None

    async def seen(self, key_id: str, at: int) -> None:  # noqa: ARG002  # the port's signature
        if self.is_away:
            raise KeyAway
        self.uses.append(at)


@dataclass
class Bench:
    """A keyring over a source, and the time they live in."""

    source: Source
    now: float = 1000.0
    secret: bytes | None = SECRET
    slowed: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.guesses = Guesses(lambda: self.now, lambda: self.slowed.append(True))
        self.keyring = Keyring(
            self.source, lambda: self.secret, lambda: self.now, lambda: self.now, self.guesses
        )

    async def present(self, key: str = KEY) -> str:
        """Present a key; returns whose it is, once all work behind the caller's back is done."""
        try:
            principal = await self.keyring.authenticate(f"Bearer {key}".encode())
        finally:
            await asyncio.gather(*self.keyring._tasks)
        return principal.key_id


@pytest.fixture
def bench() -> Bench:
    return Bench(Source(record(KEY)))


class TestMemory:
    async def test_a_fresh_record_is_not_read_again(self, bench: Bench) -> None:
        assert await bench.present() == ID
        bench.now += keyring.FRESH_S - 0.1
        assert await bench.present() == ID
        assert bench.source.reads == 1

    async def test_an_ageing_record_serves_while_it_is_read_again(self, bench: Bench) -> None:
        await bench.present()
        bench.now += keyring.FRESH_S
        bench.source.record = record(KEY, revoked=True)

        assert await bench.present() == ID  # from memory, for the last time
        with pytest.raises(BadKey, match="revoked"):
            await bench.present()

    async def test_what_the_store_confirms_is_as_good_as_read(self, bench: Bench) -> None:
        header = f"Bearer {KEY}".encode()
        principal = await bench.keyring.authenticate(header)
        for _ in range(10):
            bench.now += keyring.FRESH_S - 0.1
            bench.keyring.confirmed(principal)
            assert await bench.present() == ID
        assert bench.source.reads == 1

    async def test_a_confirmation_of_what_has_been_replaced_is_none(self, bench: Bench) -> None:
        before = await bench.keyring.authenticate(f"Bearer {KEY}".encode())
        await bench.keyring.reload(ID)
        bench.now += keyring.STALE_S
        bench.keyring.confirmed(before)
        bench.source.record = record(KEY, revoked=True)
        with pytest.raises(BadKey, match="revoked"):
            await bench.present()

    async def test_nor_is_one_of_a_key_that_nobody_knows_any_more(self, bench: Bench) -> None:
        principal = await bench.keyring.authenticate(f"Bearer {KEY}".encode())
        bench.keyring._entries.clear()
        bench.keyring.confirmed(principal)
        assert not bench.keyring._entries

    async def test_a_stale_record_is_read_before_it_serves(self, bench: Bench) -> None:
        await bench.present()
        bench.now += keyring.STALE_S
        bench.source.record = record(KEY, revoked=True)

        with pytest.raises(BadKey, match="revoked"):
            await bench.present()

    async def test_it_is_bounded(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keyring, "MAX_KEYS", 1)
        await bench.present()
        other = format_key("08abcdefghij", 40 * "a")
        bench.source.record = msgspec.structs.replace(record(other), id="08abcdefghij")
        await bench.present(other)

        assert list(bench.keyring._entries) == ["08abcdefghij"]

    async def test_what_a_header_has_proven_ends_with_its_digest(self, bench: Bench) -> None:
        old, new = KeyDigest(digest(SECRET, KEY), until=1001), KeyDigest(digest(SECRET, OTHER))
        bench.source.record = record(digests=(new, old))
        assert [await bench.present(), await bench.present()] == [ID, ID]
        bench.now += 1.5  # its record is fresh still

        with pytest.raises(BadKey, match="Incorrect"):
            await bench.present()
        assert await bench.present(OTHER) == ID

    async def test_and_with_its_key(self, bench: Bench) -> None:
        bench.source.record = record(KEY, expires_at=1001)
        assert [await bench.present(), await bench.present()] == [ID, ID]
        bench.now += 1.5

        with pytest.raises(BadKey, match="expired"):
            await bench.present()

    async def test_and_with_the_record_that_it_opened(self, bench: Bench) -> None:
        await bench.present()
        bench.source.record = record(OTHER)
        await bench.keyring.reload(ID)

        with pytest.raises(BadKey, match="Incorrect"):
            await bench.present()

    async def test_what_was_proven_is_bounded_and_shows_no_key(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keyring, "MAX_KEYS", 1)
        bench.source.record = record(KEY, OTHER)
        for key in (KEY, OTHER, KEY):
            await bench.present(key)

        assert len(bench.keyring._proofs) == 1
        assert "aaaa" not in repr(bench.keyring._proofs)

    async def test_a_use_is_noted_once_a_minute(self, bench: Bench) -> None:
        for _ in range(3):
            await bench.present()
        bench.now += 61
        await bench.present()

        assert bench.source.uses == [1000, 1061]


class TestNobodyIsRefusedFromMemory:
    async def test_a_rotated_key(self, bench: Bench) -> None:
        await bench.present()
        bench.source.record = record(OTHER)

        assert await bench.present(OTHER) == ID
        with pytest.raises(BadKey, match="Incorrect"):
            await bench.present(KEY)

    async def test_a_prolonged_key(self, bench: Bench) -> None:
        bench.source.record = record(KEY, expires_at=1001)
        await bench.present()
        bench.now += 1
        with pytest.raises(BadKey, match="expired"):
            await bench.present()
        bench.source.record = record(KEY, expires_at=2000)

        assert await bench.present() == ID

    async def test_but_while_the_store_is_away_memory_is_what_there_is(self, bench: Bench) -> None:
        await bench.present()
        bench.source.is_away = True

        with pytest.raises(BadKey, match="Incorrect"):
            await bench.present(OTHER)
        assert await bench.present(KEY) == ID


class TestStoreAway:
    async def test_a_known_key_serves_for_minutes(self, bench: Bench) -> None:
        await bench.present()
        bench.source.is_away = True
        bench.now += keyring.KEEP_S - 1

        assert await bench.present() == ID

    async def test_and_not_for_ever(self, bench: Bench) -> None:
        await bench.present()
        bench.source.is_away = True
        bench.now += keyring.KEEP_S

        with pytest.raises(StoreUnavailable):
            await bench.present()

    async def test_an_unknown_key_cannot_be_checked(self, bench: Bench) -> None:
        bench.source.is_away = True

        with pytest.raises(StoreUnavailable):
            await bench.present()

    async def test_nor_any_before_the_gateways_secret_was_seen(self, bench: Bench) -> None:
        bench.secret = None

        with pytest.raises(StoreUnavailable):
            await bench.present()

    async def test_an_ageing_record_is_asked_for_again_after_a_failure(self, bench: Bench) -> None:
        await bench.present()
        bench.now += keyring.FRESH_S
        bench.source.is_away = True
        await bench.present()
        bench.source.is_away = False
        await bench.present()

        assert bench.keyring._entries[ID].read_at == bench.now


class TestGuessing:
    """Which look-ups wait where many keys were wrong."""

    @pytest.fixture
    def pressed(self, bench: Bench) -> Bench:
        for _ in range(int(FREE)):
            bench.guesses.failed(None)
        return bench

    async def test_an_unknown_key_waits_and_a_good_one_passes_in_its_turn(self, pressed: Bench) -> None:
        assert await pressed.present() == ID
        assert len(pressed.slowed) == 1

    async def test_a_key_that_worked_here_never_waits(self, bench: Bench) -> None:
        await bench.present()
        for _ in range(1000):
            bench.guesses.failed(None)
        assert await bench.present() == ID
        bench.now += keyring.FRESH_S
        assert await bench.present() == ID
        bench.now += keyring.STALE_S
        assert await bench.present() == ID
        assert bench.slowed == []

    async def test_another_secret_of_a_known_key_waits(self, pressed: Bench) -> None:
        await pressed.present()
        pressed.slowed.clear()
        pressed.source.record = record(KEY, OTHER)
        assert await pressed.present(OTHER) == ID
        assert len(pressed.slowed) == 1

    @pytest.mark.parametrize("fields", [{"revoked": True}, {"expires_at": 1}])
    async def test_each_refusal_counts(self, bench: Bench, fields: dict[str, object]) -> None:
        bench.source.record = record(KEY, **fields)
        for _ in range(int(FREE)):
            with pytest.raises(BadKey):
                await bench.present()
        assert bench.slowed == []
        with pytest.raises(BadKey):
            await bench.present()
        assert len(bench.slowed) == 1

    async def test_text_that_is_no_key_counts_nothing(self, bench: Bench) -> None:
        for _ in range(100):
            with pytest.raises(BadKey):
                await bench.keyring.authenticate(b"Bearer sk-x")
        assert await bench.present() == ID
        assert bench.slowed == []


class TestPresented:
    @pytest.mark.parametrize(
        "header", [None, b"", b"Bearer", b"Bearer sk-x", b"Basic " + KEY.encode(), KEY.encode()]
    )
    async def test_what_is_no_key_costs_no_look_up(self, bench: Bench, header: bytes | None) -> None:
        with pytest.raises(BadKey):
            await bench.keyring.authenticate(header)
        assert bench.source.reads == 0

    async def test_the_scheme_is_read_in_any_case(self, bench: Bench) -> None:
        assert (await bench.keyring.authenticate(f"bearer  {KEY} ".encode())).key_id == ID
        await asyncio.gather(*bench.keyring._tasks)

    async def test_a_refusal_shows_the_id_and_not_the_secret(self, bench: Bench) -> None:
        with pytest.raises(BadKey) as raised:
            await bench.present(OTHER)
        assert ID in str(raised.value)
        assert 40 * "b" not in str(raised.value)

    async def test_an_id_nobody_has(self, bench: Bench) -> None:
        bench.source.record = None
        with pytest.raises(BadKey, match="Incorrect"):
            await bench.present()
