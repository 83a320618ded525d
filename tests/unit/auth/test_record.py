import msgspec
import pytest

from gateway.auth.record import KeyDigest, KeyRecord
from gateway.domain.principal import Principal

NOW = 1_000_000.0


def record(**fields: object) -> KeyRecord:
    standard = {"id": "00aaaaaaaaaa", "name": "test", "digests": (KeyDigest("aa"),), "created_at": 1}
    return KeyRecord(**{**standard, **fields})  # type: ignore[arg-type]  # as the test says


def test_what_is_stored_is_read_as_it_was() -> None:
    full = record(
        aliases=("support",),
        models=("gpt-*",),
        routes=("chat.completions",),
        limits={"rpm": 0, "tpm": None},
        training="all",
        team="acme",
        metadata={"note": [1, {"a": None}]},
        expires_at=5,
        revision=3,
        revoked=True,
        digests=(KeyDigest("aa"), KeyDigest("bb", until=9)),
    )
    assert KeyRecord.decode(full.encode()) == full
    assert KeyRecord.decode(record(models="aliases-only").encode()).models == "aliases-only"


def test_fields_of_a_newer_version_are_passed_over() -> None:
    raw = msgspec.json.decode(record().encode())
    assert KeyRecord.decode(msgspec.json.encode({**raw, "later": {"x": 1}})) == record()


def test_anything_else_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        KeyRecord.decode(b'{"id": 1}')


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "active"),
        ({"expires_at": NOW + 1}, "active"),
        ({"expires_at": NOW}, "expired"),
        ({"revoked": True}, "revoked"),
        ({"revoked": True, "expires_at": NOW - 1}, "revoked"),
    ],
)
def test_status(fields: dict[str, object], status: str) -> None:
    assert record(**fields).status(NOW) == status


def test_a_rotated_key_opens_with_the_old_secret_until_its_grace_ends() -> None:
    rotated = record(digests=(KeyDigest("new"), KeyDigest("old", until=int(NOW))))
    assert rotated.accepts("new", NOW)
    assert rotated.accepts("old", NOW - 1)
    assert not rotated.accepts("old", NOW)
    assert not rotated.accepts("other", NOW - 1)
    assert not record(digests=()).accepts("", NOW)


def test_every_secret_is_compared_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def matches(stored: str, presented: str) -> bool:
        compared.append(stored)
        return stored == presented

    monkeypatch.setattr("gateway.auth.record.matches", matches)
    rotated = record(digests=(KeyDigest("aa"), KeyDigest("bb", until=9), KeyDigest("cc")))
    for presented, accepted in (("aa", True), ("bb", False), ("cc", True), ("dd", False)):
        compared.clear()
        assert rotated.accepts(presented, NOW) is accepted
        assert compared == ["aa", "bb", "cc"]


def test_the_principal_is_what_the_record_says() -> None:
    principal = record(aliases=(), models=("a*",), routes=("models",), training=True, team="t").principal()
    assert principal == Principal(
        key_id="00aaaaaaaaaa",
        name="test",
        team="t",
        aliases=frozenset(),
        models=("a*",),
        routes=frozenset({"models"}),
        training=True,
    )
    assert principal.shard == "00"
    assert not principal.may_use_alias("support")
    assert principal.may_use_model("abc")
    assert not principal.may_use_route("files")  # `routes` still bounds what `training` opens
