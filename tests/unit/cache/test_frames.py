"""What a leader leaves for others."""

from gateway.cache.flight import Head, Tail
from gateway.cache.frames import Frame, Rejection
from gateway.cache.key import Keys
from gateway.domain.usage import Usage

KEYS = Keys(b"secret")
FRAME = Frame(Head("stream", "gpt", "openai", "none"), (b"a", b"b"), Tail(Usage(1, 2), "default", None))


def test_comes_back() -> None:
    for number, frame in enumerate([FRAME, Frame(), Frame(rejection=Rejection(400, b"{}"))]):
        sealed = frame.encode(KEYS, "k", "f", number)
        assert Frame.decode(KEYS, "k", "f", number, sealed) == frame


def test_at_its_place_alone() -> None:
    sealed = FRAME.encode(KEYS, "k", "f", 3)

    assert Frame.decode(KEYS, "k", "f", 4, sealed) is None
    assert Frame.decode(KEYS, "k", "g", 3, sealed) is None
    assert Frame.decode(KEYS, "l", "f", 3, sealed) is None
    assert Frame.decode(KEYS, "k", "f", 3, sealed[:-1]) is None
    assert Frame.decode(KEYS, "k", "f", 3, KEYS.seal("k f 3", b"junk")) is None
