from ipaddress import ip_address

import pytest

from gateway.upstream.addresses import parse, refusal

METADATA = [
    "169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::254%eth0",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "::ffff:100.100.100.200",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
]
LINK_LOCAL = ["169.254.0.1", "169.254.170.2", "fe80::1", "fe80::1%eth0", "febf::1", "::ffff:169.254.1.1"]
PRIVATE = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "0.1.2.3",
    "100.64.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fc00::1",
    "fd12::1",
    "fec0::1",
    "ff02::1",
    "100::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "64:ff9b:1::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:0.0.0.0",
    "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
    "2002:0a00:1::1",
    "2002:7f00:1::1",
    "::10.0.0.1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "104.18.7.192",
    "172.32.0.1",
    "2606:4700::6810:7c0",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


@pytest.mark.parametrize("text", METADATA)
@pytest.mark.parametrize("allow_private", [True, False])
def test_metadata_addresses_are_refused_always(text: str, allow_private: bool) -> None:
    assert refusal(ip_address(text), allow_private=allow_private) == "a cloud metadata address"


@pytest.mark.parametrize("text", LINK_LOCAL)
@pytest.mark.parametrize("allow_private", [True, False])
def test_link_local_addresses_are_refused_always(text: str, allow_private: bool) -> None:
    assert refusal(ip_address(text), allow_private=allow_private) == "a link-local address"


@pytest.mark.parametrize("text", PRIVATE)
def test_private_addresses_are_the_operators_choice(text: str) -> None:
    assert refusal(ip_address(text), allow_private=True) is None
    assert refusal(ip_address(text), allow_private=False) is not None


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_never_refused(text: str) -> None:
    assert refusal(ip_address(text), allow_private=True) is None
    assert refusal(ip_address(text), allow_private=False) is None


@pytest.mark.parametrize("text", ["api.openai.com", "localhost", "", "1.2.3", "0x7f.1", "[::1]"])
def test_names_are_not_addresses(text: str) -> None:
    assert parse(text) is None


def test_addresses_are_read_with_their_zone() -> None:
    assert str(parse("fe80::1%eth0")) == "fe80::1%eth0"
    assert str(parse("10.0.0.1")) == "10.0.0.1"
