"""What is kept comes back, or nothing does."""

from gateway.cache.entry import Entry
from gateway.cache.key import Keys
from gateway.domain.usage import Usage

KEYS = Keys(b"secret")
ENTRY = Entry("stream", (b"data: {}\n\n", b"data: []\n\n"), 1.5, "gpt", "openai", Usage(3, 4), "default")


def test_comes_back() -> None:
    assert Entry.decode(KEYS, "k", ENTRY.encode(KEYS, "k")) == ENTRY


def test_under_no_other_key() -> None:
    assert Entry.decode(KEYS, "l", ENTRY.encode(KEYS, "k")) is None


def test_with_no_other_secret() -> None:
    assert Entry.decode(Keys(b"another"), "k", ENTRY.encode(KEYS, "k")) is None


def test_broken_bytes_are_no_entry() -> None:
    kept = ENTRY.encode(KEYS, "k")

    for broken in (b"", b"junk", kept[:-1], kept + b"x", kept[:20] + b"?" + kept[21:]):
        assert Entry.decode(KEYS, "k", broken) is None


def test_sealed_nonsense_is_no_entry() -> None:
    for data in (b"", b"1", b"1junk", b"0" + b"x" * 40):
        assert Entry.decode(KEYS, "k", KEYS.seal("k", data)) is None


def test_knows_its_size() -> None:
    assert ENTRY.size == 20
