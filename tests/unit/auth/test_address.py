import pytest

from gateway.auth.address import UNKNOWN, origin_of


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("/run/x.sock", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_where_a_request_comes_from(host: str, origin: str) -> None:
    assert origin_of((host, 4711)) == origin


def test_a_peer_without_an_address() -> None:
    assert origin_of(None) == UNKNOWN
