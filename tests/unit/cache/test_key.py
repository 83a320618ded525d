"""What a cache key depends on, and what a seal holds."""

from dataclasses import replace

import pytest

from gateway.cache.key import Keys, Question
from gateway.cache.port import Generations
from gateway.cache.scope import Scope
from gateway.domain.principal import Principal

ALICE = Principal("01alicealice", "alice", team="red")
QUESTION = Question(Scope(ALICE), "chat.completions", "gpt", b"fingerprint", b"{}")
GENERATIONS = Generations(1, 2, 3)
KEYS = Keys(b"secret")


class TestScope:
    def test_is_the_key_unless_the_key_says_its_team(self) -> None:
        assert str(Scope(ALICE)) == "key:01alicealice"
        assert str(Scope(replace(ALICE, cache_scope="team"))) == "team:red"
        assert str(Scope(replace(ALICE, cache_scope="team", team=None))) == "key:01alicealice"

    def test_cannot_be_left_out(self) -> None:
        with pytest.raises(TypeError):
            Scope()  # type: ignore[call-arg]  # what must not be possible
        with pytest.raises(TypeError):
            Question(route="r", model="m", fingerprint=b"", body=b"")  # type: ignore[call-arg]  # as above


class TestKey:
    def test_every_part_counts(self) -> None:
        others = [
            replace(QUESTION, scope=Scope(Principal("01bobbobbob1", "bob"))),
            replace(QUESTION, route="completions"),
            replace(QUESTION, model="gpt-2"),
            replace(QUESTION, fingerprint=b"another"),
            replace(QUESTION, body=b'{"a":1}'),
        ]
        keys = {KEYS.key(question, GENERATIONS) for question in [QUESTION, *others]}
        keys |= {KEYS.key(QUESTION, other) for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)]}  # type: ignore[arg-type]  # three numbers do for generations
        keys.add(Keys(b"another secret").key(QUESTION, GENERATIONS))

        assert len(keys) == 10

    def test_parts_do_not_run_into_each_other(self) -> None:
        one = replace(QUESTION, route="ab", model="c")
        other = replace(QUESTION, route="a", model="bc")

        assert KEYS.key(one, GENERATIONS) != KEYS.key(other, GENERATIONS)

    def test_is_64_hexadecimal_digits(self) -> None:
        key = KEYS.key(QUESTION, GENERATIONS)

        assert len(key) == 64
        assert set(key) <= set("0123456789abcdef")


class TestSeal:
    def test_opens_at_its_place(self) -> None:
        assert KEYS.open("here", KEYS.seal("here", b"data")) == b"data"

    @pytest.mark.parametrize("keys", [KEYS, Keys(b"another")], ids=["another place", "another secret"])
    def test_opens_nowhere_else(self, keys: Keys) -> None:
        assert keys.open("there", KEYS.seal("here", b"data")) is None

    def test_every_byte_is_held(self) -> None:
        sealed = KEYS.seal("here", b"data")
        for at in range(len(sealed)):
            broken = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
            assert KEYS.open("here", broken) is None
        assert KEYS.open("here", b"") is None
