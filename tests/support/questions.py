"""Bodies that ask a model: at random, spelled in other ways, and changed in one thing that matters.

All of it hangs on the given source of random numbers, so that a case that fails can be played again.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Any

Body = dict[str, Any]

_WORDS = (
    *(
        "hello",
        "Zürich",
        "straße",
        "naïve",
        "日本語",
        "emoji 😀",
        "a b",
        "tab\there",
        'quote "x"',
        "new\nline",
    ),
    *("caf\u00e9", "cafe\u0301", "\u00c5", "A\u030a", "\u212b", "\u2028", "\u200b", "\u0000", "ﬁ", "fi", ""),
)
_NUMBERS = (0, 1, 2, 7, 10, 100, 1000, -1, 0.1, 0.5, 1.5, 2.25, 1e-7, 12345678901234567890, 3.141592653589793)
_STREAMS: tuple[Body, ...] = (
    {},
    {"stream": True},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"user": "u-1"},
    {"user": "u-2", "metadata": {"a": "b"}},
    {"prompt_cache_key": "x", "safety_identifier": "y"},
)


def a_body(rng: Random) -> Body:
    """A chat request."""
    messages = [
        {"role": rng.choice(("user", "assistant", "system")), "content": _text(rng)}
        for _ in range(rng.randint(1, 3))
    ]
    body: Body = {"model": "support", "messages": messages, "temperature": 0}
    if rng.random() < 0.4:
        body["max_tokens"] = rng.randint(1, 400)
    if rng.random() < 0.3:
        body["seed"] = rng.choice(_NUMBERS)
    if rng.random() < 0.3:
        body["tools"] = [{"type": "function", "function": {"name": "f", "parameters": _object(rng, 2)}}]
    if rng.random() < 0.3:
        body["x_" + rng.choice("abc")] = _value(rng, 2)
    return body


def spelled(body: Body, rng: Random) -> bytes:
    """A body as JSON: keys in some order, numbers, texts and white space in some spelling."""
    return _spelled({**body, **rng.choice(_STREAMS)}, rng).encode()


def changed(body: Body, rng: Random) -> Body:
    """The body with one thing changed that may change its answer."""
    copy: Body = json.loads(json.dumps(body))
    while copy == body:
        rng.choice(_CHANGES)(copy, rng)
    return copy


def _text(rng: Random) -> str:
    return " ".join(rng.choice(_WORDS) for _ in range(rng.randint(1, 3)))


def _object(rng: Random, depth: int) -> Body:
    return {rng.choice("abcdé") + str(number): _value(rng, depth - 1) for number in range(rng.randint(0, 3))}


def _value(rng: Random, depth: int) -> Any:
    kind = rng.randint(0, 5 if depth else 3)
    if kind == 0:
        return rng.choice(_NUMBERS)
    if kind == 1:
        return _text(rng)
    if kind == 2:
        return rng.choice((True, False, None))
    if kind == 3:
        return str(rng.choice(_NUMBERS))
    return _object(rng, depth) if kind == 4 else [_value(rng, depth - 1) for _ in range(rng.randint(0, 3))]


# -- spelling


def _spelled(value: Any, rng: Random) -> str:
    gap = rng.choice(("", "", " ", "\n", "\t "))
    if isinstance(value, dict):
        items = list(value.items())
        rng.shuffle(items)
        inside = f",{gap}".join(f"{_string(name, rng)}:{gap}{_spelled(item, rng)}" for name, item in items)
        return f"{{{gap}{inside}{gap}}}"
    if isinstance(value, list):
        return f"[{gap}" + f"{gap},".join(_spelled(item, rng) for item in value) + f"{gap}]"
    if isinstance(value, str):
        return _string(value, rng)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return _number(value, rng)


def _string(text: str, rng: Random) -> str:
    way = rng.randint(0, 3)
    if way < 2:
        return json.dumps(text, ensure_ascii=way == 0)
    if way == 2:
        return json.dumps(text, ensure_ascii=False).replace("/", "\\/")
    units = text.encode("utf-16-be")
    pairs = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
    return '"' + "".join(f"\\u{rng.choice((pair, pair.upper()))}" for pair in pairs) + '"'


def _number(value: float, rng: Random) -> str:
    """The same number: with a point, with an exponent, with zeros behind."""
    plain = repr(value)
    way = rng.randint(0, 3)
    if "e" in plain or way == 0:
        return plain
    if way == 1:
        return plain + ("0" if "." in plain else ".0")
    return plain + rng.choice(("e0", "E+0", "e-0")) if way == 2 else _shifted(plain, rng)


def _shifted(plain: str, rng: Random) -> str:
    """With the point elsewhere and an exponent that puts it back."""
    sign, digits = ("-", plain[1:]) if plain.startswith("-") else ("", plain)
    whole, _, part = digits.partition(".")
    moved = (whole + part).lstrip("0") or "0"
    zeros = rng.randint(0, 2) if moved != "0" else 0
    return f"{sign}{moved}{'0' * zeros}e{-len(part) - zeros}"


# -- what matters


def _other_text(body: Body, rng: Random) -> None:
    rng.choice(body["messages"])["content"] = _text(rng)


def _other_letter(body: Body, rng: Random) -> None:
    message = rng.choice(body["messages"])
    text = message["content"]
    at = rng.randint(0, len(text))
    message["content"] = text[:at] + rng.choice(("a", "\u0301", " ", "\u200b", "É")) + text[at:]


def _other_role(body: Body, rng: Random) -> None:
    rng.choice(body["messages"])["role"] = rng.choice(("user", "assistant", "system", "developer"))


def _one_more(body: Body, rng: Random) -> None:
    body["messages"].insert(rng.randint(0, len(body["messages"])), {"role": "user", "content": _text(rng)})


def _one_less(body: Body, rng: Random) -> None:
    if len(body["messages"]) > 1:
        body["messages"].pop(rng.randrange(len(body["messages"])))


def _turned_round(body: Body, _: Random) -> None:
    body["messages"].reverse()


def _other_number(body: Body, rng: Random) -> None:
    name = rng.choice(("max_tokens", "seed", "top_p", "n", "presence_penalty"))
    body[name] = rng.choice(
        (*_NUMBERS, 3, 4, 0.10000000000000001, 0.1000000000000000055, 12345678901234567891)
    )


def _other_kind(body: Body, rng: Random) -> None:
    name = rng.choice(list(body))
    if name not in ("model", "messages"):
        value = body[name]
        body[name] = str(value) if not isinstance(value, str) else [value]


def _new_field(body: Body, rng: Random) -> None:
    body[rng.choice(("logprobs", "stop", "response_format", "z", "User", "metadata2", "É"))] = _value(rng, 1)


def _no_field(body: Body, rng: Random) -> None:
    name = rng.choice(list(body))
    if name not in ("model", "messages"):
        del body[name]


_CHANGES: tuple[Callable[[Body, Random], None], ...] = (
    *(_other_text, _other_letter, _other_role, _one_more, _one_less, _turned_round),
    *(_other_number, _other_kind, _new_field, _no_field),
)
