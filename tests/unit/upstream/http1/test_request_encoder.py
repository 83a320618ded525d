import pytest

from gateway.upstream.http1.request_encoder import RequestEncoder
from gateway.upstream.port import Origin, UpstreamRequest

ORIGIN = Origin("http", "api.test", 80)


def request(
    body: bytes = b"", method: str = "POST", target: str = "/v1/x", **fields: object
) -> UpstreamRequest:
    headers = fields.pop("headers", ((b"accept", b"*/*"),))
    return UpstreamRequest(ORIGIN, method, target, headers, body)  # type: ignore[arg-type]  # always a tuple


def encoded(made: UpstreamRequest) -> bytes:
    return b"".join(RequestEncoder(b"api.test").encode(made))


def test_a_small_request_is_one_buffer() -> None:
    (wire,) = RequestEncoder(b"api.test").encode(request(b"{}"))
    assert wire == b"POST /v1/x HTTP/1.1\r\nhost: api.test\r\naccept: */*\r\ncontent-length: 2\r\n\r\n{}"


def test_a_large_body_is_not_copied() -> None:
    body = b"x" * 100_000
    head, same = RequestEncoder(b"api.test").encode(request(body))
    assert same is body
    assert head.endswith(b"content-length: 100000\r\n\r\n")


@pytest.mark.parametrize(
    ("method", "has_length"), [("POST", True), ("PUT", True), ("PATCH", True), ("GET", False)]
)
def test_an_empty_body_has_a_length_where_a_body_is_usual(method: str, has_length: bool) -> None:
    wire = encoded(request(method=method))
    assert wire.endswith(b"\r\n\r\n")
    assert (b"content-length: 0\r\n" in wire) is has_length


def test_a_remembered_head_does_not_leak_into_another_request() -> None:
    encoder = RequestEncoder(b"api.test")
    headers = ((b"x", b"1"),)
    other = ((b"x", b"2"),)
    seen = [
        b"".join(encoder.encode(request(body, method, target, headers=chosen)))
        for body, method, target, chosen in [
            (b"a", "POST", "/v1/a", headers),
            (b"bb", "POST", "/v1/a", headers),
            (b"a", "POST", "/v1/b", headers),
            (b"a", "PUT", "/v1/b", headers),
            (b"a", "POST", "/v1/a", other),
        ]
    ]
    assert [wire.split(b"\r\n")[0] for wire in seen] == [
        b"POST /v1/a HTTP/1.1",
        b"POST /v1/a HTTP/1.1",
        b"POST /v1/b HTTP/1.1",
        b"PUT /v1/b HTTP/1.1",
        b"POST /v1/a HTTP/1.1",
    ]
    assert [b"x: 2" in wire for wire in seen] == [False, False, False, False, True]
    assert seen[1].endswith(b"content-length: 2\r\n\r\nbb")


def test_the_memory_for_heads_is_bounded_and_ids_are_not_mistaken() -> None:
    encoder = RequestEncoder(b"api.test")
    for n in range(1000):  # tuples die and their ids come again
        wire = b"".join(encoder.encode(request(headers=((b"x", b"%d" % n),))))
        assert b"\r\nx: %d\r\n" % n in wire
    assert len(encoder._remembered) <= 64


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0b"])
def test_line_breaks_in_values_are_refused_without_showing_them(value: bytes) -> None:
    with pytest.raises(ValueError, match="authorization has a line break") as caught:
        encoded(request(headers=((b"authorization", value),)))
    assert "b: c" not in str(caught.value)


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\n", b"\xc3\xa4"])
def test_names_that_are_no_tokens_are_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="token"):
        encoded(request(headers=((name, b"x"),)))


@pytest.mark.parametrize("name", [b"Host", b"content-length", b"Connection", b"Transfer-Encoding", b"expect"])
def test_headers_of_the_transport_are_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="transport's to set"):
        encoded(request(headers=((name, b"x"),)))


@pytest.mark.parametrize("target", ["", "/a b", "/a\r\n", "/ä", "/a\x7f"])
def test_targets_that_are_not_printable_are_refused(target: str) -> None:
    with pytest.raises(ValueError, match="target"):
        encoded(request(target=target))
