"""`config/store.acl` is as wide as the code needs and no wider, and `tunegate doctor` agrees with it."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.cli import doctor_cache, doctor_store
from gateway.store.address import Command, SentinelAddress, parse_address
from gateway.store.client import Store, StoreReplyError
from gateway.store.keys import cache_entry, mark
from gateway.store.sentinel import Primary
from tests.support.valkey import ACL, USER, ValkeyServer, acl_rules
from tests.support.valkey_sentinel import SERVICE, Sentinel

ROOT = Path(__file__).parents[3]
SPEAKS = [*sorted((ROOT / "gateway/store").glob("*.py")), ROOT / "gateway/metering/retention.py"]
GREETING = {"ping", "client|setname", "select", "role"}
CONTAINERS = {"client", "cluster", "script", "xinfo"}
NO_COMMANDS = {
    "auth",  # always permitted
    "readonly",  # the code of an error
    "object",  # these are for reading any command's key
    "xgroup",
    "eval",
    "sentinel",  # asked of sentinels, which have users of their own
}
"""Words of those files that are names of commands as well, and are not sent to the store."""

FACTS = {"info", "dbsize"}
"""What a server tells of itself: to doctor, and to the cache."""

CACHE_GENERATIONS = "~{cache}:*"
"""What a purge of the cache writes; doctor does not try it."""


@pytest.fixture
async def store(valkey: ValkeyServer) -> AsyncIterator[Store]:
    """The restricted user alone."""
    store = Store(valkey.url, timeout_s=5)
    await store.open()
    yield store
    await store.aclose()


def granted() -> set[str]:
    return {rule[1:] for rule in acl_rules() if rule.startswith("+")}


def test_the_file_is_one_line_that_begins_with_nothing_and_leaves_the_password_to_you() -> None:
    (line,) = ACL.read_text("utf-8").splitlines()
    rules = line.split()
    assert rules[:4] == ["user", USER, "on", ">CHANGE-ME"]
    assert rules.index("-@all") < min(place for place, rule in enumerate(rules) if rule.startswith("+"))
    assert {"resetkeys", "resetchannels"} <= set(rules)
    assert not any(rule.startswith(("+@", "&", "allkeys", "allchannels", "nopass")) for rule in rules)
    assert "~*" not in rules


def test_it_grants_what_the_code_sends_and_nothing_else(valkey: ValkeyServer) -> None:
    known = {name.decode() for name in valkey.run("COMMAND", "LIST")}
    sent = set(_of_scripts()) | {name for path in SPEAKS for name in _of_python(path, known)}
    assert granted() == sent | {"info"}


def _of_scripts() -> Iterator[str]:
    for path in (ROOT / "gateway/store/lua").rglob("*.lua"):
        code = re.sub(r"--[^\n]*", "", path.read_text("utf-8"))
        for name, first in re.findall(r"\bp?call\(\s*'(\w+)'(?:,\s*'(\w+)')?", code):
            yield f"{name}|{first}".lower() if name.lower() in CONTAINERS else name.lower()


def _of_python(path: Path, known: set[str]) -> Iterator[str]:
    """Commands that stand as text in tuples and calls."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        words: list[ast.expr] = []
        if isinstance(node, ast.Tuple):
            words = node.elts
        elif isinstance(node, ast.Call):
            words = node.args
        texts = [each.value if isinstance(each, ast.Constant) else None for each in words]
        if not texts or not isinstance(texts[0], str) or not texts[0].isupper():
            continue
        name = texts[0].lower()
        if name in known and name not in NO_COMMANDS:
            yield f"{name}|{str(texts[1]).lower()}" if name in CONTAINERS else name


def test_the_page_names_them_all() -> None:
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    section = page.partition("## The store's user")[2].partition("| channels | none |")[0]
    named = {word.replace(" ", "|") for word in re.findall(r"`([^`]+)`", section)}
    rules = {rule[1:] for rule in acl_rules() if rule[0] in "+~"}
    assert rules <= named
    assert named - rules == {
        "valkey.conf",
        "CHANGE-ME",
        "store.url",
        "store.cache_url",
        "store.wait_replicas",
    }


def test_it_loads_as_a_file_of_acls_too() -> None:
    with ValkeyServer("--aclfile", str(ACL), restricted=False) as server:
        assert b"-@all" in server.run("ACL", "LIST")[1]


async def test_of_a_sentinel_it_takes_one_question() -> None:
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    (line,) = re.findall(r"^user tunegate on >CHANGE-ME .*get-master-addr-by-name$", page, re.MULTILINE)
    watched = f"sentinel monitor {SERVICE} 127.0.0.1 6379 1"
    with Sentinel(watched, line) as sentinel:
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}"
        address = parse_address(f"{url}?sentinel_username=tunegate&sentinel_password=CHANGE-ME")
        assert isinstance(address, SentinelAddress)
        found = await Primary(address, clock=time.monotonic).find()
    assert found.host_and_port == "127.0.0.1:6379"


FORBIDDEN = (
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"),
    ("CONFIG", "GET", "*"),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("EVAL", "return 1", "0"),
    ("SCRIPT", "FLUSH"),
    ("FUNCTION", "LIST"),
    ("ACL", "LIST"),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("DEBUG", "SLEEP", "0"),
    ("MONITOR",),
    ("SHUTDOWN", "NOSAVE"),
    ("REPLICAOF", "NO", "ONE"),
    ("CLUSTER", "RESET"),
    ("MIGRATE", "h", "1", "secret", "0", "1"),
    ("DUMP", "secret"),
    ("RENAME", "secret", "processes"),
    ("SUBSCRIBE", "any"),
    ("PUBLISH", "any", "thing"),
    # what it may do, to keys that are not the gateway's
    ("GET", "others"),
    ("SET", "others", "1"),
    ("DEL", "{sXX}:key:1"),
    ("HGETALL", "keys:other"),
)


@pytest.mark.parametrize("command", FORBIDDEN, ids=" ".join)
async def test_it_forbids(store: Store, command: tuple[str, ...]) -> None:
    with pytest.raises(StoreReplyError, match="NOPERM"):
        await store.call(*command)


async def test_a_script_cannot_reach_around_it(store: Store) -> None:
    script = doctor_store.Script.of("mischief", "return redis.call(ARGV[1], KEYS[1])")
    assert await store.script(script, ["secret"], ["GET"]) is None
    for key, command in (("others", "GET"), ("secret", "DUMP")):
        with pytest.raises(StoreReplyError, match=r"NOPERM|ACL|permission"):
            await store.script(script, [key], [command])


def test_doctor_tries_all_but_what_it_has_connected_by() -> None:
    tried = {rule[1:] for rule in _tried() if rule[0] == "+"}
    assert tried == granted() - GREETING - FACTS - {"cluster|info", "cluster|slots", "asking", "time"}


def _name(command: tuple[str | bytes | int, ...]) -> str:
    name = str(command[0]).lower()
    return f"{name}|{str(command[1]).lower()}" if name in CONTAINERS else name


def _needs() -> list[Command]:
    """Of store and cache."""
    return [
        *doctor_store.needs(mark("00", "doctor"), waits=True),
        *doctor_cache.probes(cache_entry("doctor")),
    ]


def _tried() -> list[str]:
    commands = {_name(command) for command in _needs()} | {"evalsha", "script|load"}
    of_keys = [rule for rule in acl_rules() if rule[0] == "~" and rule != CACHE_GENERATIONS]
    return [f"+{name}" for name in sorted(commands)] + of_keys


async def test_doctor_finds_nothing_amiss(store: Store) -> None:
    found = await doctor_store.permissions("store", store, _needs())
    assert found.state == "ok", found


@pytest.mark.parametrize("rule", _tried())
async def test_doctor_misses_each(valkey: ValkeyServer, rule: str) -> None:
    """One command less, or one kind of keys, and it says so."""
    valkey.run("ACL", "SETUSER", "less", "reset", *(each for each in acl_rules() if each != rule))
    if rule == "+script|load":
        valkey.run("SCRIPT", "FLUSH")
    store = Store(valkey.url.replace(f"//{USER}:", "//less:"), timeout_s=5)
    await store.open()
    try:
        found = await doctor_store.permissions("store", store, _needs())
    finally:
        await store.aclose()
        valkey.run("ACL", "DELUSER", "less")
    assert found.state == "bad"
    assert rule[0] == "~" or rule[1:].partition("|")[0].upper() in found.said
