"""What is one body, and what is two."""

import msgspec
import pytest
from msgspec import Raw

from gateway.cache.canonical import IGNORED, NotCanonical, canonical

_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def form(body: str) -> bytes:
    return canonical(_fields(body.encode()))


class TestOneBody:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ('{"a":1,"b":{"c":2,"d":3}}', '{ "b" : {"d":3,\n"c":2}, "a":1 }'),
            ('{"a":"\\u0041\\u00e9\\/"}', '{"a":"Aé/"}'),
            ('{"a":"\\ud83d\\ude00"}', '{"a":"😀"}'),
            ('{"\\u0061":1}', '{"a":1}'),
            ('{"a":[1,1.0,1e0,10E-1,0.01e+2]}', '{"a":[1,1,1,1,1]}'),
            ('{"a":[0.5,5e-1,0.50]}', '{"a":[0.5,0.5,0.5]}'),
            ('{"a":[-0,-0.0,0e9]}', '{"a":[0,0,0]}'),
            ('{"a":1e25}', '{"a":10000000000000000000000000}'),
        ],
    )
    def test_two_spellings(self, one: str, other: str) -> None:
        assert form(one) == form(other)

    @pytest.mark.parametrize("name", sorted(IGNORED))
    def test_a_field_that_says_nothing_to_the_model(self, name: str) -> None:
        assert form(f'{{"a":1,"{name}":"x"}}') == form('{"a":1}')


class TestTwoBodies:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ('{"a":"é"}', '{"a":"e\\u0301"}'),
            ('{"a":"\\u212b"}', '{"a":"\\u00c5"}'),
            ('{"a":1}', '{"a":"1"}'),
            ('{"a":1}', '{"a":true}'),
            ('{"a":0}', '{"a":false}'),
            ('{"a":null}', '{"a":0}'),
            ('{"a":null}', "{}"),
            ('{"a":[]}', '{"a":{}}'),
            ('{"a":[1,2]}', '{"a":[2,1]}'),
            ('{"a":"x"}', '{"a":"x "}'),
            ('{"a":"x"}', '{"A":"x"}'),
            ('{"a":12345678901234567890123}', '{"a":12345678901234567890124}'),
            ('{"a":0.1}', '{"a":0.1000000000000000055511151231257827}'),
            ('{"a":{"user":1}}', '{"a":{"user":2}}'),
        ],
    )
    def test_two_questions(self, one: str, other: str) -> None:
        assert form(one) != form(other)


class TestNoBody:
    @pytest.mark.parametrize(
        "body",
        ['{"a":{"b":1,"b":1}}', '{"a":1e4001}', '{"a":1e999999999999999999999}', f'{{"a":{"9" * 5000}}}'],
        ids=["a key twice", "digits", "exponent", "a long number"],
    )
    def test_what_readers_read_differently(self, body: str) -> None:
        with pytest.raises(NotCanonical):
            form(body)

    def test_a_lone_surrogate(self) -> None:
        with pytest.raises(NotCanonical):
            canonical({"a": Raw(b'"\\ud800"')})
