import pytest

from gateway.upstream.http1.request_encoder import encode, encode_head
from gateway.upstream.port import Headers, Origin, RequestHead, UpstreamRequest

ORIGIN = Origin("http", "api.test", 80)
ACCEPT: Headers = ((b"accept", b"*/*"),)


def request(
    body: bytes = b"",
    method: str = "POST",
    target: str = "/v1/x",
    headers: Headers = ACCEPT,
    more: Headers = (),
) -> UpstreamRequest:
    return UpstreamRequest(RequestHead(ORIGIN, method, target, headers), body, more=more)


def buffers(made: UpstreamRequest) -> tuple[bytes, ...]:
    return encode(encode_head(made.head, b"api.test"), made)


def encoded(made: UpstreamRequest) -> bytes:
    return b"".join(buffers(made))


def test_a_small_request_is_one_buffer() -> None:
    (wire,) = buffers(request(b"{}"))
    assert wire == b"POST /v1/x HTTP/1.1\r\nhost: api.test\r\naccept: */*\r\ncontent-length: 2\r\n\r\n{}"


def test_a_large_body_is_not_copied() -> None:
    body = b"x" * 100_000
    head, same = buffers(request(body))
    assert same is body
    assert head.endswith(b"content-length: 100000\r\n\r\n")


@pytest.mark.parametrize(
    ("method", "has_length"), [("POST", True), ("PUT", True), ("PATCH", True), ("GET", False)]
)
def test_an_empty_body_has_a_length_where_a_body_is_usual(method: str, has_length: bool) -> None:
    wire = encoded(request(method=method))
    assert wire.endswith(b"\r\n\r\n")
    assert (b"content-length: 0\r\n" in wire) is has_length


@pytest.mark.parametrize("body", [b"", b"{}", b"x" * 100_000])
def test_headers_of_one_request_stand_behind_those_of_all(body: bytes) -> None:
    wire = encoded(request(body, more=((b"traceparent", b"00-1"),)))
    assert wire.startswith(b"POST /v1/x HTTP/1.1\r\nhost: api.test\r\naccept: */*\r\ntraceparent: 00-1\r\n")
    assert wire.endswith(b"content-length: %d\r\n\r\n%b" % (len(body), body))


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0b"])
def test_line_breaks_in_values_are_refused_without_showing_them(value: bytes) -> None:
    for part in ("headers", "more"):
        with pytest.raises(ValueError, match="authorization has a line break") as caught:
            encoded(request(**{part: ((b"authorization", value),)}))  # type: ignore[arg-type]  # both are headers
        assert "b: c" not in str(caught.value)


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\n", b"\xc3\xa4"])
def test_names_that_are_no_tokens_are_refused(name: bytes) -> None:
    for part in ("headers", "more"):
        with pytest.raises(ValueError, match="token"):
            encoded(request(**{part: ((name, b"x"),)}))  # type: ignore[arg-type]  # both are headers


@pytest.mark.parametrize("name", [b"Host", b"content-length", b"Connection", b"Transfer-Encoding", b"expect"])
def test_headers_of_the_transport_are_refused(name: bytes) -> None:
    for part in ("headers", "more"):
        with pytest.raises(ValueError, match="transport's to set"):
            encoded(request(**{part: ((name, b"x"),)}))  # type: ignore[arg-type]  # both are headers


@pytest.mark.parametrize("target", ["", "/a b", "/a\r\n", "/ä", "/a\x7f"])
def test_targets_that_are_not_printable_are_refused(target: str) -> None:
    with pytest.raises(ValueError, match="target"):
        encoded(request(target=target))
