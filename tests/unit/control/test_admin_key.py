import pytest
from structlog.testing import capture_logs

from gateway.control import wrong_keys
from gateway.control.admin_key import AdminAuth, configured_admin_key, new_admin_key
from gateway.control.wrong_keys import MAX_TRIES
from gateway.domain.errors import BadKey, RateLimited
from gateway.store.errors import StoreAway
from gateway.store.secret_repository import admin_key_hash


class Stored:
    def __init__(self, key: str | None) -> None:
        self.key = key
        self.is_away = False
        self.asked = 0

    async def admin_key_hash(self) -> str | None:
        self.asked += 1
        if self.is_away:
            raise StoreAway("gone")
        return None if self.key is None else admin_key_hash(self.key)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _nothing() -> None:
    """Nobody counts here."""


async def refused(auth: AdminAuth, authorization: str | None) -> bool:
    try:
        await auth.check(authorization)
    except BadKey:
        return True
    return False


async def test_only_the_bearer_of_the_key_passes() -> None:
    auth = AdminAuth(None, Stored("tga-1"), Clock(), _nothing)
    authorization: str | None
    for authorization in ("Bearer tga-1", "bearer tga-1", "Bearer  tga-1 "):
        assert not await refused(auth, authorization)
    for authorization in (
        None,
        "",
        "Bearer",
        "Bearer ",
        "tga-1",
        "Basic tga-1",
        "Bearer tga-2",
        "Bearer \udcff",
    ):
        assert await refused(auth, authorization)


async def test_the_operators_key_is_the_only_one() -> None:
    stored = Stored("tga-1")
    auth = AdminAuth("mine", stored, Clock(), _nothing)
    assert not await refused(auth, "Bearer mine")
    assert await refused(auth, "Bearer tga-1")
    assert stored.asked == 0


async def test_nothing_passes_before_a_key_was_made() -> None:
    assert await refused(AdminAuth(None, Stored(None), Clock(), _nothing), "Bearer x")


async def test_a_reset_is_heeded_within_a_second() -> None:
    stored, clock = Stored("old"), Clock()
    auth = AdminAuth(None, stored, clock, _nothing)
    await auth.check("Bearer old")
    stored.key = "new"
    clock.now += 1
    assert await refused(auth, "Bearer old")
    assert not await refused(auth, "Bearer new")
    assert stored.asked == 2


async def test_while_the_store_is_away_the_key_seen_last_holds() -> None:
    stored, clock = Stored("key"), Clock()
    auth = AdminAuth(None, stored, clock, _nothing)
    stored.is_away = True
    with pytest.raises(StoreAway):
        await auth.check("Bearer key")
    stored.is_away = False
    await auth.check("Bearer key")
    stored.is_away = True
    clock.now += 60
    assert not await refused(auth, "Bearer key")
    assert await refused(auth, "Bearer other")


def test_keys_of_ours_are_long_and_differ() -> None:
    assert new_admin_key() != new_admin_key()
    assert new_admin_key().startswith("tga-")
    assert len(new_admin_key()) > 40


def test_an_empty_key_in_the_environment_is_none() -> None:
    assert configured_admin_key({"TUNEGATE_ADMIN_KEY": " \n"}) is None
    assert configured_admin_key({"TUNEGATE_ADMIN_KEY": "key\n"}) == "key"


HERE, THERE = ("192.0.2.1", 1), ("192.0.2.2", 1)


class Guesser:
    """Tries keys that are not it, each another one."""

    def __init__(self) -> None:
        self.stored, self.clock = Stored("right"), Clock()
        self.unseen = 0
        self.auth = AdminAuth(None, self.stored, self.clock, self._count)
        self._tried = 0

    def _count(self) -> None:
        self.unseen += 1

    async def tries(self, times: int, client: tuple[str, int] = HERE) -> None:
        for _ in range(times):
            self._tried += 1
            with pytest.raises(BadKey):
                await self.auth.check(f"Bearer wrong-{self._tried}", client)

    async def is_locked_out(self, client: tuple[str, int] = HERE) -> bool:
        try:
            await self.auth.check("Bearer right", client)
        except RateLimited:
            return True
        return False


async def test_after_ten_wrong_keys_no_more_is_looked_at_for_a_while() -> None:
    guesser = Guesser()
    await guesser.tries(MAX_TRIES - 1)
    assert not await guesser.is_locked_out()
    await guesser.tries(1)
    asked = guesser.stored.asked
    with pytest.raises(RateLimited) as refusal:
        await guesser.auth.check("Bearer right", HERE)
    assert (refusal.value.retry_after_s, refusal.value.dimension) == (60, "requests")
    assert (guesser.unseen, guesser.stored.asked) == (1, asked)
    assert not await guesser.is_locked_out(THERE)
    guesser.clock.now += 60
    assert not await guesser.is_locked_out()


async def test_ten_a_minute_is_the_pace_however_long_it_goes_on() -> None:
    guesser, compared = Guesser(), 0
    for n in range(3600):
        guesser.clock.now += 1
        try:
            await guesser.auth.check(f"Bearer wrong-{n}", HERE)
        except BadKey:
            compared += 1
        except RateLimited:
            continue
    assert compared == MAX_TRIES * 60


async def test_the_same_wrong_key_again_and_again_is_no_guessing() -> None:
    guesser = Guesser()
    for _ in range(1000):
        with pytest.raises(BadKey):
            await guesser.auth.check("Bearer of-yesterday", HERE)
    assert not await guesser.is_locked_out()


async def test_no_key_is_no_guess() -> None:
    guesser = Guesser()
    for _ in range(100):
        with pytest.raises(BadKey):
            await guesser.auth.check(None, HERE)
    assert not await guesser.is_locked_out()


async def test_what_is_remembered_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_keys, "MAX_ADDRESSES", 10)
    guesser = Guesser()
    for n in range(100):
        await guesser.tries(1, (f"198.51.100.{n}", 1))
    assert len(guesser.auth._wrong._tries) == 10
    guesser.clock.now += 60
    assert not await guesser.is_locked_out(("198.51.100.99", 1))
    assert len(guesser.auth._wrong._tries) == 9


async def test_the_log_says_it_once_and_has_no_key() -> None:
    guesser = Guesser()
    with capture_logs() as log:
        await guesser.tries(MAX_TRIES)
        for _ in range(5):
            assert await guesser.is_locked_out()
    assert [line["address"] for line in log] == ["192.0.2.1"]
    assert "wrong-" not in str(log)
