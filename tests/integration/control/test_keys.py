import asyncio
from typing import Any

import pytest

from gateway.auth.record import KeyRecord
from gateway.auth.virtual_key import digest, split_key
from gateway.store.client import Store
from gateway.store.key_repository import KeyRepository
from gateway.store.secret_repository import SecretRepository
from tests.integration.control.running import RunningControl

SHAPE = [
    *("object", "id", "name", "redacted", "status", "aliases", "models", "routes", "limits", "budget"),
    *("effective_limits", "credit_usd", "credit_nanousd", "training", "max_output_tokens", "team"),
    *("may_pin", "cache_scope", "created_at", "expires_at", "last_used_at", "metadata"),
]
DEFAULT_LIMITS = {"rpm": 600, "tpm": 1_000_000, "concurrency": 100}


async def opens(store: Store, key: str) -> bool:
    """Whether the data plane would take this key now."""
    split = split_key(key)
    assert split is not None
    stored = await KeyRepository(store).get(split[0])
    assert stored is not None
    secret = await SecretRepository(store).gateway_secret("never taken")
    return stored.record.status(0) == "active" and stored.record.accepts(digest(secret, key), 0)


async def test_a_key_is_shown_once_and_stored_as_a_hash(control: RunningControl, store: Store) -> None:
    made = await control.call("POST", "/keys", {"name": "first"})
    assert sorted(made) == sorted([*SHAPE, "key"])
    assert await opens(store, made["key"])
    assert await control.call("GET", f"/keys/{made['id']}") == {k: v for k, v in made.items() if k != "key"}
    assert made["key"].startswith(made["redacted"].removesuffix("***"))
    secret = made["key"].rpartition("-")[2]
    for name in await store.call("KEYS", "*"):
        kind = await store.call("TYPE", name)
        value = await store.call(*(("HGETALL", name) if kind == b"hash" else ("OBJECT", "ENCODING", name)))
        assert secret.encode() not in repr(value).encode()


async def test_defaults(control: RunningControl) -> None:
    made = await control.call("POST", "/keys", {"name": "plain"})
    assert {name: made[name] for name in SHAPE if name not in ("id", "redacted", "created_at")} == {
        "object": "key",
        "name": "plain",
        "status": "active",
        "limits": {},
        "effective_limits": DEFAULT_LIMITS,
        "training": False,
        "may_pin": False,
        "cache_scope": "key",
        "metadata": {},
        **dict.fromkeys(("aliases", "models", "routes", "budget", "credit_usd", "max_output_tokens", "team")),
        **dict.fromkeys(("credit_nanousd", "expires_at", "last_used_at")),
    }


async def test_every_field_comes_back_and_is_changed_by_itself(control: RunningControl) -> None:
    fields = {
        "name": "full",
        "aliases": ["support", "support"],
        "models": ["gpt-*"],
        "routes": ["models", "batches"],
        "training": "all",
        "may_pin": True,
        "cache_scope": "key",
        "max_output_tokens": 500,
        "team": "acme",
        "expires_at": 4102444800,
        "metadata": {"owner": "me", "nested": [1, None, {"x": True}]},
    }
    made = await control.call("POST", "/keys", fields)
    assert {name: made[name] for name in fields} == {**fields, "aliases": ["support"]}
    changes: list[dict[str, Any]] = [
        {"aliases": None},
        {"models": "aliases-only"},
        {"routes": []},
        {"team": None},
        {"expires_at": None},
        {"training": None},
        {"may_pin": False},
        {"max_output_tokens": None},
        {"metadata": {}},
        {"name": "renamed"},
        {},
    ]
    for change in changes:
        before = await control.call("GET", f"/keys/{made['id']}")
        after = await control.call("PATCH", f"/keys/{made['id']}", change)
        expected = {**before, **change}
        assert after == {**expected, "training": expected["training"] or False}
        assert await control.call("GET", f"/keys/{made['id']}") == after


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "name", "required"),
    ({"name": ""}, "name", "at least 1"),
    ({"name": "x" * 201}, "name", "200"),
    ({"name": "a\nb"}, "name", "printable"),
    ({"name": " "}, "name", "printable"),
    ({"name": 5}, "name", "string"),
    ({"name": "x", "nmae": 1}, "nmae", "Unknown field"),
    ({"name": "x", "limits": {"rps": 1}}, "limits.rps", "Unknown field"),
    ({"name": "x", "limits": {"rpm": -1}}, "limits.rpm", "greater than or equal to 0"),
    ({"name": "x", "cache_scope": "all"}, "cache_scope", "'key' or 'team'"),
    ({"name": "x", "routes": ["chat"]}, "routes", "unknown route"),
    ({"name": "x", "models": "all"}, "models", "aliases-only"),
    ({"name": "x", "aliases": "support"}, "aliases", "list"),
    ({"name": "x", "aliases": [""]}, "aliases.0", "at least 1"),
    ({"name": "x", "training": "some"}, "training", ""),
    ({"name": "x", "training": 1}, "training", ""),
    ({"name": "x", "may_pin": "yes"}, "may_pin", "boolean"),
    ({"name": "x", "expires_at": 1}, "expires_at", "future"),
    ({"name": "x", "expires_at": 1e300}, "expires_at", ""),
    ({"name": "x", "expires_at": 10**30}, "expires_at", ""),
    ({"name": "x", "metadata": []}, "metadata", "dictionary"),
    ({"name": "x", "metadata": {"x": "y" * 20000}}, "metadata", "bytes"),
]


async def test_what_cannot_be_is_refused_by_name(control: RunningControl) -> None:
    for fields, param, words in REFUSED:
        error = (await control.call("POST", "/keys", fields, expect=400))["error"]
        assert error["type"] == "invalid_request_error"
        assert error["code"] is None
        assert error["param"] == param, error
        assert words in error["message"]
    assert (await control.call("GET", "/keys"))["data"] == []


async def test_a_lone_surrogate_is_refused_wherever_it_stands(control: RunningControl) -> None:
    for text in (
        r'{"name": "\ud800"}',
        r'{"name": "x", "metadata": {"a": "\ud800"}}',
        r'{"name": "x", "metadata": {"\ud800": 1}}',
    ):
        response = await control.http.post(
            "/admin/v1/keys", content=text, headers={"content-type": "application/json"}
        )
        assert response.status_code == 400, response.text


async def test_a_body_that_is_none(control: RunningControl) -> None:
    for content, kind, words in (
        (b"", "application/json", "missing"),
        (b"{", "application/json", "not valid JSON"),
        (b"[]", "application/json", "JSON object"),
        (b'{"name": "x"}', "application/x-www-form-urlencoded", "content-type"),
        (b"[" * 100_000, "application/json", "JSON"),
        (b'{"name": NaN}', "application/json", "name"),
        (b"\xff", "application/json", "JSON"),
    ):
        response = await control.http.post("/admin/v1/keys", content=content, headers={"content-type": kind})
        assert response.status_code == 400, response.text
        error = response.json()["error"]
        assert sorted(error) == ["code", "message", "param", "type"]
        assert words in error["message"]


async def test_a_body_may_not_be_endless(control: RunningControl) -> None:
    body = b'{"name": "' + b"x" * (2 << 20) + b'"}'
    response = await control.http.post(
        "/admin/v1/keys", content=body, headers={"content-type": "application/json"}
    )
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


async def test_lists_are_newest_first_in_pages(control: RunningControl) -> None:
    made = [(await control.call("POST", "/keys", {"name": f"k{n}"}))["id"] for n in range(7)]
    await control.call("DELETE", f"/keys/{made[3]}")
    newest_first = [key for key in reversed(made) if key != made[3]]
    seen: list[str] = []
    after = ""
    while True:
        page = await control.call("GET", f"/keys?limit=2{after}")
        assert page["object"] == "list"
        assert len(page["data"]) <= 2
        seen += [key["id"] for key in page["data"]]
        if not page["has_more"]:
            assert page["next"] is None
            break
        after = f"&after={page['next']}"
    assert seen == newest_first
    assert len((await control.call("GET", "/keys?status=all"))["data"]) == 7
    assert [key["id"] for key in (await control.call("GET", "/keys?status=revoked"))["data"]] == [made[3]]
    for query, param in (
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("after=nobody", "after"),
        ("status=x", "status"),
    ):
        error = (await control.call("GET", f"/keys?{query}", expect=400))["error"]
        assert error["param"] == param


async def test_a_revoked_key_is_closed_for_good(control: RunningControl, store: Store) -> None:
    made = await control.call("POST", "/keys", {"name": "x"})
    for _ in range(2):  # an answer that was lost may be asked for again
        answer = await control.call("DELETE", f"/keys/{made['id']}")
        assert answer == {"id": made["id"], "object": "key.deleted", "deleted": True}
    assert not await opens(store, made["key"])
    assert (await control.call("GET", f"/keys/{made['id']}"))["status"] == "revoked"
    await control.call("PATCH", f"/keys/{made['id']}", {"name": "y"}, expect=400)
    await control.call("POST", f"/keys/{made['id']}/rotate", {}, expect=400)


async def test_an_expired_key_can_be_given_more_time(control: RunningControl, store: Store) -> None:
    made = await control.call("POST", "/keys", {"name": "x"})
    repository = KeyRepository(store)
    stored = await repository.get(made["id"])
    assert stored is not None
    old = KeyRecord.decode(stored.record.encode().replace(b'"expires_at":null', b'"expires_at":5'))
    record = KeyRecord.decode(old.encode().replace(b'"revision":1', b'"revision":2'))
    assert await repository.replace(record)
    assert (await control.call("GET", f"/keys/{made['id']}"))["status"] == "expired"
    assert (await control.call("GET", "/keys?status=expired"))["data"][0]["id"] == made["id"]
    later = await control.call("PATCH", f"/keys/{made['id']}", {"expires_at": 4102444800})
    assert later["status"] == "active"


async def test_rotation_replaces_the_secret_at_once_or_after_a_grace(
    control: RunningControl, store: Store
) -> None:
    first = await control.call("POST", "/keys", {"name": "x"})
    second = await control.call("POST", f"/keys/{first['id']}/rotate", {"grace_s": 60})
    assert second["id"] == first["id"]
    assert await opens(store, first["key"])
    assert await opens(store, second["key"])
    third = await control.call("POST", f"/keys/{first['id']}/rotate")
    assert [await opens(store, made["key"]) for made in (first, second, third)] == [False, False, True]
    error = (await control.call("POST", f"/keys/{first['id']}/rotate", {"grace_s": -1}, expect=400))["error"]
    assert error["param"] == "grace_s"


async def test_a_grace_is_never_made_longer_by_a_later_rotation(
    control: RunningControl, store: Store
) -> None:
    made = await control.call("POST", "/keys", {"name": "x"})
    await control.call("POST", f"/keys/{made['id']}/rotate", {"grace_s": 10})
    await control.call("POST", f"/keys/{made['id']}/rotate", {"grace_s": 1000})
    stored = await KeyRepository(store).get(made["id"])
    assert stored is not None
    newest, middle, oldest = stored.record.digests
    assert newest.until is None
    assert middle.until is not None
    assert oldest.until is not None
    assert middle.until - oldest.until >= 900


async def test_changes_at_the_same_time_do_not_undo_each_other(control: RunningControl, store: Store) -> None:
    made = await control.call("POST", "/keys", {"name": "x"})
    changes: list[dict[str, Any]] = [
        {"team": "t"},
        {"may_pin": True},
        {"aliases": ["a"]},
        {"models": ["m"]},
        {"metadata": {"n": 1}},
    ]
    await asyncio.gather(*(control.call("PATCH", f"/keys/{made['id']}", change) for change in changes))
    after = await control.call("GET", f"/keys/{made['id']}")
    for change in changes:
        assert after == {**after, **change}
    stored = await KeyRepository(store).get(made["id"])
    assert stored is not None
    assert stored.record.revision == 1 + len(changes)


async def test_the_last_use_is_shown(control: RunningControl, store: Store) -> None:
    made = await control.call("POST", "/keys", {"name": "x"})
    await store.call("HSET", f"{{s{made['id'][:2]}}}:key:{made['id']}", "last_used_at", 1234)
    assert (await control.call("GET", f"/keys/{made['id']}"))["last_used_at"] == 1234


@pytest.mark.parametrize("key_id", ["00aaaaaaaaaa", "nobody", "a%2Fb", "%00", "x" * 500])
async def test_a_key_that_is_not_there(control: RunningControl, key_id: str) -> None:
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("POST", "/rotate", {}),
    ):
        answer = await control.call(method, f"/keys/{key_id}{path}", body, expect=404)
        assert sorted(answer["error"]) == ["code", "message", "param", "type"]


async def test_the_keys_of_a_team_share_a_shard(control: RunningControl) -> None:
    made = [await control.call("POST", "/keys", {"name": f"k{n}", "team": "acme"}) for n in range(3)]
    assert len({key["id"][:2] for key in made}) == 1
