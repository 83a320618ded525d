import pytest

from gateway.store import keys
from gateway.store.slots import Redirection, SlotMap, read_map, read_redirection, slot_of

INFO = b"cluster_state:ok\r\ncluster_slots_ok:16384\r\ncluster_current_epoch:7\r\ncluster_my_epoch:2\r\n"


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        # As CLUSTER KEYSLOT has them, and the test vector of the specification.
        ("123456789", 12739),
        (b"foo", 12182),
        ("{foo}:any", 12182),
        ("any{foo}{bar}", 12182),
        ("{}foo", 9500),
        ("{{a}}", 10276),
        ("é", 10180),
        (5, 9974),
    ],
)
def test_the_slot_is_that_of_the_key_or_its_tag(key, slot):
    assert slot_of(("GET", key)) == slot


def test_scripts_and_subcommands_have_their_key_further_back():
    slot = slot_of(("GET", "foo"))
    assert slot_of(("EVALSHA", "sha", 2, "foo", "bar", "argument")) == slot
    assert slot_of(("XINFO", "STREAM", "foo")) == slot
    assert slot_of((b"GET", "foo")) == slot


@pytest.mark.parametrize("command", [("PING",), ("EVALSHA", "sha", 0), ("XINFO", "HELP")])
def test_a_command_without_a_key_may_go_anywhere(command):
    assert slot_of(command) is None


def test_all_keys_of_a_shard_share_a_slot():
    assert slot_of(("GET", keys.key_record("07abcdefghij"))) == slot_of(("GET", "{s07}:anything"))


def test_a_map_is_who_has_which_slots():
    slots = [
        [0, 99, [b"10.0.0.1", 7000, b"id", []], [b"10.0.0.2", 7000, b"id", []]],
        [200, 200, [b"10.0.0.1", 7000, b"id", []]],
        [100, 199, [b"::1", 7001, b"id", []]],
        [300, 399, [b"?", 7002, b"id", []]],
    ]
    owners = {("10.0.0.1", 7000): [(0, 99), (200, 200)], ("::1", 7001): [(100, 199)]}
    assert read_map(INFO, slots, "asked") == SlotMap(owners, 7, is_ok=True)


@pytest.mark.parametrize("nameless", [None, b""])
def test_a_node_without_a_name_is_where_it_was_asked(nameless):
    told = read_map(INFO.replace(b"ok", b"fail", 1), [[0, 9, [nameless, 7000, b"id"]]], "asked")
    assert told == SlotMap({("asked", 7000): [(0, 9)]}, 7, is_ok=False)


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("MOVED 3999 127.0.0.1:6381", Redirection(3999, ("127.0.0.1", 6381), is_ask=False)),
        ("ASK 0 ::1:6381", Redirection(0, ("::1", 6381), is_ask=True)),
        ("MOVED 1 node.example:6381", Redirection(1, ("node.example", 6381), is_ask=False)),
        ("MOVED 1 :6381", Redirection(1, ("asked", 6381), is_ask=False)),
        ("MOVED 1 ?:6381", None),
        ("TRYAGAIN Multiple keys request during rehashing of slot", None),
        ("ERR MOVED 1 h:1", None),
    ],
)
def test_a_redirection_names_slot_and_node(message, meaning):
    assert read_redirection(message, "asked") == meaning
