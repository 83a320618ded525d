import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.virtual_key import (
    SHARDS,
    configured_secret,
    digest,
    format_key,
    is_key_id,
    matches,
    new_key_id,
    new_secret,
    redacted,
    shard_of,
    split_key,
)


@given(st.text(min_size=1))
def test_every_key_splits_into_what_it_was_made_of(owner: str) -> None:
    key_id, secret = new_key_id(owner, secrets.randbelow), new_secret(secrets.randbelow)
    assert is_key_id(key_id)
    assert split_key(format_key(key_id, secret)) == (key_id, secret)


@given(st.text(min_size=1))
def test_an_owner_keeps_its_shard(owner: str) -> None:
    shard = shard_of(owner)
    assert new_key_id(owner, secrets.randbelow)[:2] == shard
    assert shard == shard_of(owner)
    assert 0 <= int(shard) < SHARDS


def test_the_shard_of_an_owner_is_the_same_in_every_process_and_version() -> None:
    assert [shard_of(owner) for owner in ("acme", "bench", "ünï")] == ["32", "08", "07"]


def test_owners_are_spread_over_all_shards() -> None:
    assert len({shard_of(f"team-{n}") for n in range(2000)}) == SHARDS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sk-abc",
        "tg-64aaaaaaaaaa-" + "x" * 40,  # no such shard
        "tg-00AAAAAAAAAA-" + "x" * 40,
        "tg-00aaaaaaaaa-" + "x" * 40,
        "tg-00aaaaaaaaaa-" + "x" * 39,
        "tg-00aaaaaaaaaa-" + "x" * 40 + "\n",
        "tg-00aaaaaaaaaa-" + "x" * 39 + "ü",
        " tg-00aaaaaaaaaa-" + "x" * 40,
    ],
)
def test_what_is_no_key_is_not_split(text: str) -> None:
    assert split_key(text) is None


def test_a_digest_depends_on_the_secret_and_on_every_character() -> None:
    key = format_key("00aaaaaaaaaa", "x" * 40)
    known = digest(b"secret", key)
    assert matches(known, digest(b"secret", key))
    assert not matches(known, digest(b"other", key))
    assert not matches(known, digest(b"secret", key[:-1] + "y"))


def test_what_is_shown_of_a_key_holds_nothing_of_its_secret() -> None:
    assert redacted("00aaaaaaaaaa") == "tg-00aaaaaaaaaa-***"


def test_an_empty_secret_in_the_environment_is_none() -> None:
    assert configured_secret({}) is None
    assert configured_secret({"TUNEGATE_SECRET": ""}) is None
    assert configured_secret({"TUNEGATE_SECRET": "sésame"}) == "sésame".encode()
