import pytest

from gateway.store.address import parse_address


def test_a_plain_url_means_the_usual_host_and_port():
    address = parse_address("redis://")
    assert (address.host, address.port, address.path, address.db) == ("localhost", 6379, None, 0)
    assert address.greeting == [("CLIENT", "SETNAME", "tunegate"), ("PING",)]


def test_user_password_and_database_become_the_greeting():
    address = parse_address("redis://tuner:p%40ss%2F@store.example:7000/4?client_name=me")
    assert (address.host, address.port) == ("store.example", 7000)
    assert address.greeting == [
        ("AUTH", "tuner", "p@ss/"),
        ("SELECT", 4),
        ("CLIENT", "SETNAME", "me"),
        ("PING",),
    ]


def test_a_password_without_user_is_sent_alone():
    assert parse_address("redis://:pw@host").greeting[0] == ("AUTH", "pw")


def test_a_unix_socket():
    address = parse_address("unix://:pw@/run/store.sock?db=2")
    assert address.path == "/run/store.sock"
    assert address.greeting[:2] == [("AUTH", "pw"), ("SELECT", 2)]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:hunter2@h:1/5", "redis://h:1/5"),
        ("rediss://u:hunter2@[::1]:1", "rediss://[::1]:1/0"),
        ("unix://u:hunter2@/run/x.sock", "unix:///run/x.sock"),
        ("redis+cluster://u:hunter2@h1:1,[::1]:2", "redis+cluster://h1:1,[::1]:2"),
        ("rediss+cluster://:hunter2@h1:1", "rediss+cluster://h1:1"),
        (
            "redis+sentinel://:hunter2@h1:1,h2/main?sentinel_password=hunter2",
            "redis+sentinel://h1:1,h2:26379/main",
        ),
        ("redis+sentinel://h1:1/main/3", "redis+sentinel://h1:1/main/3"),
    ],
)
def test_neither_str_nor_repr_shows_the_password(url, shown):
    address = parse_address(url)
    assert str(address) == shown
    assert "hunter2" not in repr(address)


def test_the_nodes_of_a_cluster_are_spoken_to_alike():
    cluster = parse_address("redis+cluster://u:p%2C@h1:7000,h2,[::1]:7001/?client_name=me")
    assert [(seed.host, seed.port) for seed in cluster.seeds] == [("h1", 7000), ("h2", 6379), ("::1", 7001)]
    assert {tuple(seed.greeting[0]) for seed in cluster.seeds} == {("AUTH", "u", "p,")}
    another = cluster.seeds[0].at("h3", 7003)
    assert (another.host, another.port, another.greeting) == ("h3", 7003, cluster.seeds[1].greeting)


def test_sentinels_have_a_user_and_a_password_of_their_own():
    address = parse_address(
        "redis+sentinel://u:p@h1:1,h2/a%20b/3?client_name=me&sentinel_username=su&sentinel_password=s%26p"
    )
    assert address.service == "a b"
    assert address.server.greeting[:3] == [("AUTH", "u", "p"), ("SELECT", 3), ("CLIENT", "SETNAME", "me")]
    assert [(each.host, each.port) for each in address.sentinels] == [("h1", 1), ("h2", 26379)]
    assert {tuple(each.greeting[0]) for each in address.sentinels} == {("AUTH", "su", "s&p")}
    assert parse_address("redis+sentinel://u:p@h/s?db=3").sentinels[0].greeting[0][0] == "CLIENT"


def test_tls_is_for_every_node_and_every_sentinel():
    cluster = parse_address("rediss+cluster://h1:1,h2:2?ssl_cert_reqs=none")
    assert [seed.tls.ssl_context.cert_reqs.name for seed in cluster.seeds] == ["CERT_NONE"] * 2
    sentinels = parse_address("rediss+sentinel://h1:1/main")
    assert sentinels.server.tls is not None
    assert sentinels.sentinels[0].tls is not None


def test_rediss_checks_certificate_and_name_unless_told_otherwise():
    checked = parse_address("rediss://host").tls
    unchecked = parse_address("rediss://host?ssl_cert_reqs=none").tls
    assert checked is not None
    assert unchecked is not None
    assert (checked.ssl_context.cert_reqs.name, checked.ssl_context.check_hostname) == ("CERT_REQUIRED", True)
    assert unchecked.ssl_context.cert_reqs.name == "CERT_NONE"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://host", "must be redis://"),
        ("redis://:hunter2/x@host", "percent-encoded"),
        ("redis://:hunter2@host:port", "percent-encoded"),
        ("redis+cluster://", "needs its hosts"),
        ("redis+cluster://h1:1,,h2:2", "needs its hosts"),
        ("redis+cluster://:hunter2/x@h1:1", "percent-encoded"),
        ("redis+cluster://u:hunter2@h1:one", "percent-encoded"),
        ("redis+cluster://h1:1/1", "database 0 only"),
        ("redis+cluster://h1:1?db=1", "database 0 only"),
        ("redis+cluster://h1:1?sentinel_password=hunter2", "unknown parameter sentinel_password"),
        ("redis+cluster://h1:1?ssl_cert_reqs=none", "needs rediss://"),
        ("redis+sentinel://h1:1", "/service"),
        ("redis+sentinel://h1:1/main/one", "/service"),
        ("redis+sentinel://u:hunter2@:1/main", "needs its hosts"),
        ("redis+sentinel://h1:1/main?sentinel_pass=hunter2", "unknown parameter sentinel_pass"),
        ("redis+other://h1:1", "must be redis://"),
        ("rediss://host?ssl_cert_req=none", "ssl_cert_req"),
        ("rediss://host?ssl_cert_reqs=perhaps", "perhaps"),
        ("redis://host?ssl_cert_reqs=none", "needs rediss://"),
        ("redis://host?socket_timeout=3", "unknown parameter socket_timeout"),
        ("redis://host?protocol=3", "protocol 2"),
        ("unix://", "needs the path"),
    ],
)
def test_what_cannot_be_meant_is_refused(url, says):
    with pytest.raises(ValueError) as caught:
        parse_address(url)
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)
