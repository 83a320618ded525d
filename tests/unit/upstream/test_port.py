import pytest

from gateway.upstream.port import Origin


@pytest.mark.parametrize(
    ("origin", "value"),
    [
        (Origin("https", "api.openai.com", 443), b"api.openai.com"),
        (Origin("http", "api.test", 80), b"api.test"),
        (Origin("http", "api.test", 443), b"api.test:443"),
        (Origin("https", "api.test", 8443), b"api.test:8443"),
        (Origin("http", "::1", 80), b"[::1]"),
        (Origin("http", "::1", 8000), b"[::1]:8000"),
        (Origin("https", "bücher.test", 443), b"xn--bcher-kva.test"),
        (Origin("https", "bücher.test", 8443), b"xn--bcher-kva.test:8443"),
        (Origin("unix", "/run/x.sock", 0), b"localhost"),
    ],
)
def test_the_host_header_names_the_port_only_where_it_is_not_the_schemes_own(
    origin: Origin, value: bytes
) -> None:
    assert origin.host_header == value
