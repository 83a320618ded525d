import pytest

from gateway.control.admin_key import AdminAuth, configured_admin_key, new_admin_key
from gateway.domain.errors import BadKey
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


async def refused(auth: AdminAuth, authorization: str | None) -> bool:
    try:
        await auth.check(authorization)
    except BadKey:
        return True
    return False


async def test_only_the_bearer_of_the_key_passes() -> None:
    auth = AdminAuth(None, Stored("tga-1"), Clock())
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
    auth = AdminAuth("mine", stored, Clock())
    assert not await refused(auth, "Bearer mine")
    assert await refused(auth, "Bearer tga-1")
    assert stored.asked == 0


async def test_nothing_passes_before_a_key_was_made() -> None:
    assert await refused(AdminAuth(None, Stored(None), Clock()), "Bearer x")


async def test_a_reset_is_heeded_within_a_second() -> None:
    stored, clock = Stored("old"), Clock()
    auth = AdminAuth(None, stored, clock)
    await auth.check("Bearer old")
    stored.key = "new"
    clock.now += 1
    assert await refused(auth, "Bearer old")
    assert not await refused(auth, "Bearer new")
    assert stored.asked == 2


async def test_while_the_store_is_away_the_key_seen_last_holds() -> None:
    stored, clock = Stored("key"), Clock()
    auth = AdminAuth(None, stored, clock)
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
