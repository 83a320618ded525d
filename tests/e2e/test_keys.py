"""The life of a virtual key, as its administrator and its holder see it, on every worker."""

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import redis

from gateway.auth.virtual_key import split_key
from gateway.supervisor.paths import embedded_socket
from tests.e2e.conftest import BASE, SUPPORT
from tests.e2e.gateway_process import GatewayProcess, OneWorker, wait_until

SEEN_WITHIN_S = 5.0
"""How long a worker may go on with what it last read of a key."""


@pytest.fixture(scope="module")
def workers(gateway: GatewayProcess) -> Iterator[list[OneWorker]]:
    """A client of each worker, so that what one of them remembers cannot hide behind another."""
    with gateway.each_worker() as workers:
        yield workers


def statuses(workers: list[OneWorker], key: str) -> set[int]:
    return {worker.models(key).status_code for worker in workers}


def say_hello(gateway: GatewayProcess, key: str, model: str = "support") -> str:
    with gateway.sdk(key) as client:
        reply = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "hi"}], max_tokens=1
        )
    return reply.model


def test_a_new_key_works_at_once_everywhere(gateway: GatewayProcess, workers: list[OneWorker]) -> None:
    issued = gateway.issue_key(name="new", team="blue", metadata={"ticket": "7"})

    assert statuses(workers, issued["key"]) == {200}
    assert say_hello(gateway, issued["key"]) == SUPPORT
    shown = gateway.admin("GET", f"/admin/v1/keys/{issued['id']}")
    assert (shown["status"], shown["team"], shown["metadata"]) == ("active", "blue", {"ticket": "7"})
    assert "key" not in shown
    assert split_key(issued["key"]) is not None


def test_its_last_use_is_told(gateway: GatewayProcess) -> None:
    issued = gateway.issue_key()
    assert issued["last_used_at"] is None
    say_hello(gateway, issued["key"])

    def last_used_at() -> Any:
        return gateway.admin("GET", f"/admin/v1/keys/{issued['id']}")["last_used_at"]

    wait_until(last_used_at, "the note of its use")
    assert abs(last_used_at() - time.time()) < 60


def test_a_restriction_is_seen_by_all_workers(gateway: GatewayProcess, workers: list[OneWorker]) -> None:
    issued = gateway.issue_key()
    assert {worker.chat(issued["key"], "off").status_code for worker in workers} == {
        503
    }  # allowed, no upstream
    gateway.admin("PATCH", f"/admin/v1/keys/{issued['id']}", {"aliases": ["support"], "models": [BASE]})

    wait_until(
        lambda: {worker.chat(issued["key"], "off").status_code for worker in workers} == {403},
        "the restriction",
        within_s=SEEN_WITHIN_S,
    )
    with pytest.raises(openai.PermissionDeniedError) as raised:
        say_hello(gateway, issued["key"], "off")
    assert raised.value.code == "model_not_allowed"
    assert say_hello(gateway, issued["key"]) == SUPPORT
    assert say_hello(gateway, issued["key"], BASE) == BASE


def test_a_revocation_is_seen_by_all_workers(gateway: GatewayProcess, workers: list[OneWorker]) -> None:
    issued = gateway.issue_key()
    assert statuses(workers, issued["key"]) == {200}
    answer = gateway.admin("DELETE", f"/admin/v1/keys/{issued['id']}")

    assert answer == {"id": issued["id"], "object": "key.deleted", "deleted": True}
    wait_until(lambda: statuses(workers, issued["key"]) == {401}, "the revocation", within_s=SEEN_WITHIN_S)
    with pytest.raises(openai.AuthenticationError) as raised:
        say_hello(gateway, issued["key"])
    assert raised.value.code == "invalid_api_key"
    assert gateway.admin("GET", f"/admin/v1/keys/{issued['id']}")["status"] == "revoked"


def test_an_expiry_needs_nobody(gateway: GatewayProcess, workers: list[OneWorker]) -> None:
    expires_at = int(time.time()) + 2
    key = gateway.new_key(expires_at=expires_at)
    assert statuses(workers, key) == {200}

    wait_until(lambda: time.time() >= expires_at, "the end of the key")

    assert statuses(workers, key) == {401}
    with pytest.raises(openai.AuthenticationError, match="expired"):
        say_hello(gateway, key)


class TestRotation:
    def test_with_grace_both_work_until_it_ends(
        self, gateway: GatewayProcess, workers: list[OneWorker]
    ) -> None:
        old = gateway.issue_key()
        assert statuses(workers, old["key"]) == {200}
        rotated_at = time.time()
        new = gateway.admin("POST", f"/admin/v1/keys/{old['id']}/rotate", {"grace_s": 2})

        assert new["id"] == old["id"]
        assert new["key"] != old["key"]
        assert statuses(workers, new["key"]) == {200}  # at once: a rotation must not lock anybody out
        assert statuses(workers, old["key"]) == {200} or time.time() > rotated_at + 2
        wait_until(lambda: time.time() > rotated_at + 3, "the end of the grace")  # `until` is a whole second
        assert statuses(workers, old["key"]) == {401}
        assert statuses(workers, new["key"]) == {200}

    def test_without_grace_the_old_one_ends(self, gateway: GatewayProcess, workers: list[OneWorker]) -> None:
        old = gateway.issue_key()
        assert statuses(workers, old["key"]) == {200}
        new = gateway.admin("POST", f"/admin/v1/keys/{old['id']}/rotate")

        wait_until(lambda: statuses(workers, old["key"]) == {401}, "its end", within_s=SEEN_WITHIN_S)
        assert statuses(workers, new["key"]) == {200}


def test_no_secret_is_stored_or_logged(gateway: GatewayProcess) -> None:
    first = gateway.issue_key()
    second = gateway.admin("POST", f"/admin/v1/keys/{first['id']}/rotate", {"grace_s": 60})
    say_hello(gateway, first["key"])
    say_hello(gateway, second["key"])
    stored = _everything_in(gateway)
    digests = json.loads(stored[f"{{s{first['id'][:2]}}}:key:{first['id']}".encode()][b"record"])["digests"]
    files = [path for path in gateway.home.rglob("*") if path.is_file()]
    append_only = b"".join(path.read_bytes() for path in files if "appendonly" in path.name)

    assert first["id"].encode() in append_only  # so that what is looked for below would be found there
    assert len({digest["hmac"] for digest in digests}) == 2
    for issued in (first, second):
        secret = issued["key"].rpartition("-")[2].encode()
        assert secret not in repr(stored).encode()
        assert [path for path in files if secret in path.read_bytes()] == []


def _everything_in(gateway: GatewayProcess) -> dict[bytes, Any]:
    """All that the store holds, read as any client of it would."""
    readers = {
        b"string": "GET {}",
        b"hash": "HGETALL {}",
        b"list": "LRANGE {} 0 -1",
        b"zset": "ZRANGE {} 0 -1",
        b"stream": "XRANGE {} - +",
    }
    with redis.Redis(unix_socket_path=embedded_socket(gateway.data_dir)) as store:
        found = {}
        for name in store.scan_iter():
            command, *rest = readers[store.type(name)].split()
            found[name] = store.execute_command(command, *(name if each == "{}" else each for each in rest))
        return found


def test_the_command_line(gateway: GatewayProcess, workers: list[OneWorker]) -> None:
    def keys(*arguments: str) -> Any:
        done = gateway.cli("keys", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    created = keys("create", "by command", "--alias", "support", "--expires-in", "1h")
    assert created["aliases"] == ["support"]
    assert created["expires_at"] > time.time() + 3000
    assert say_hello(gateway, created["key"]) == SUPPORT

    assert created["id"] in [each["id"] for each in keys("list")["data"]]
    shown = keys("show", created["id"])
    assert "key" not in shown
    assert (shown["name"], shown["status"]) == ("by command", "active")

    rotated = keys("rotate", created["id"], "--grace-s", "60")
    assert statuses(workers, rotated["key"]) == statuses(workers, created["key"]) == {200}

    assert keys("revoke", created["id"])["deleted"] is True
    assert created["id"] not in [each["id"] for each in keys("list")["data"]]
    wait_until(lambda: statuses(workers, rotated["key"]) == {401}, "the end", within_s=SEEN_WITHIN_S)

    refused = gateway.cli("keys", "show", "nosuchkey000", "--json")
    assert refused.returncode == 1
    assert "nosuchkey000" in refused.stderr
