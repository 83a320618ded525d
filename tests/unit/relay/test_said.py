"""What left of a stream is known to the byte, and kept in little."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.relay.said import Said
from tests.support.fake_upstream import chunk, event, text


def remember(said: Said, passed: bytes) -> bool:
    """Whether `passed` was known by its mould."""
    if said.repeats(passed):
        return True
    said.learn(passed)
    return False


def kept_bytes(said: Said) -> int:
    packed = sum(len(part) for unpack in said._packed for part in unpack.args)
    return packed + len(said._texts) + said._loose_bytes


def test_of_chunks_that_differ_in_their_text_the_text_is_kept() -> None:
    said = Said()

    known = [remember(said, text(f"{n} ")) for n in range(1000)]

    assert known == [False] + [True] * 999
    assert said.text() == "".join(f"{n} " for n in range(1000))
    assert kept_bytes(said) < 6000


def test_several_events_at_once_are_known_as_well() -> None:
    said = Said()

    known = [remember(said, passed) for passed in (text("a"), text("b") + text('"c"'), text("d"))]

    assert known == [False, True, True]
    assert said.text() == 'ab"c"d'


def test_events_with_something_else_in_them_are_not_known() -> None:
    said = Said()
    remember(said, text("a"))

    front, back = text("|").split(b"|")
    others = [
        chunk({"content": "b"}, "stop"),
        chunk({"content": "b", "role": "assistant"}),
        event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
        text("b") + chunk({"content": "b"}, "stop") + text("c"),
        front + b'b","usage":{"x":"' + back,
        front + b"b\\" + back,
        front + b"b\nc" + back,
        front + b"b\rc" + back,
        front + back[1:],
        front[:-1],
        b"",
    ]

    assert not any(said.repeats(other) for other in others)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["content", "reasoning", "odd"]), st.text(max_size=40)), max_size=200)
)
def test_all_texts_are_known_in_their_order(parts: list[tuple[str, str]]) -> None:
    said = Said()
    for key, value in parts:
        remember(said, chunk({"content": value, "tool_calls": [7]} if key == "odd" else {key: value}))

    assert said.text() == "".join(value for _, value in parts)
