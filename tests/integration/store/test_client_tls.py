"""rediss://: certificates are checked as the URL asks."""

from urllib.parse import quote

import pytest
import trustme

from gateway.store.client import Store, StoreAway
from tests.support.tls_relay import tls_relay


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def other_ca() -> trustme.CA:
    return trustme.CA()


async def ask(url: str) -> bytes:
    store = Store(url, timeout_s=5)
    try:
        await store.open()
        reply: bytes = await store.call("ECHO", "over TLS")
        return reply
    finally:
        await store.aclose()


async def test_a_certificate_of_the_named_ca_is_accepted(valkey, ca):
    with ca.cert_pem.tempfile() as pem:
        async with tls_relay(valkey.path, ca, "localhost") as port:
            assert await ask(f"rediss://localhost:{port}/0?ssl_ca_certs={quote(pem)}") == b"over TLS"


async def test_a_certificate_of_another_ca_is_refused(valkey, ca, other_ca):
    with other_ca.cert_pem.tempfile() as pem:
        async with tls_relay(valkey.path, ca, "localhost") as port:
            with pytest.raises(StoreAway, match=r"(?i)certificate"):
                await ask(f"rediss://localhost:{port}/0?ssl_ca_certs={quote(pem)}")
            with pytest.raises(StoreAway, match=r"(?i)certificate"):
                await ask(f"rediss://localhost:{port}/0")


async def test_the_name_is_checked_unless_the_url_says_no(valkey, ca):
    with ca.cert_pem.tempfile() as pem:
        async with tls_relay(valkey.path, ca, "store.example") as port:
            url = f"rediss://localhost:{port}/0?ssl_ca_certs={quote(pem)}"
            with pytest.raises(StoreAway, match=r"(?i)hostname|not valid for"):
                await ask(url)
            assert await ask(f"{url}&ssl_check_hostname=false") == b"over TLS"


async def test_the_check_can_be_switched_off(valkey, ca):
    async with tls_relay(valkey.path, ca, "store.example") as port:
        assert await ask(f"rediss://localhost:{port}/0?ssl_cert_reqs=none") == b"over TLS"
