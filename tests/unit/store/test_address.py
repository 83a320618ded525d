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
    ],
)
def test_neither_str_nor_repr_shows_the_password(url, shown):
    address = parse_address(url)
    assert str(address) == shown
    assert "hunter2" not in repr(address)


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
        ("redis+cluster://h1:1,h2:2", "not available in this version"),
        ("redis+sentinel://h1:1/main", "not available in this version"),
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
