"""What leaves of a stream, whatever arrives and however it is cut."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import StreamBroken
from gateway.domain.usage import Usage
from gateway.relay.stream import Stream
from tests.support.fake_upstream import chunk, done, event, finish, role, text, usage

HELLO = (role(), text("Hel"), text("lo"), finish())


def run(
    wire: bytes, cuts: list[int] | None = None, *, wants_usage: bool = False, choices: int = 1
) -> tuple[bytes, Stream, StreamBroken | None]:
    """All that leaves, the stream at its end, and what broke it."""
    stream = Stream(wants_usage=wants_usage, choices=choices)
    cuts = cuts or []
    out = b""
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        out += stream.feed(wire[start:end])
    return out + stream.close(), stream, stream.broken


class TestBytes:
    def test_events_pass_byte_for_byte(self) -> None:
        odd = b'data: { "choices" : [ {"delta":{"content":"x", "odd": 1e5}, "finish_reason" : null } ] }\n\n'
        wire = role() + odd + finish()

        assert run(wire + done())[0] == wire

    def test_the_usage_chunk_stays_here_unless_it_was_asked_for(self) -> None:
        wire = b"".join(HELLO) + usage()

        assert run(wire + done())[0] == b"".join(HELLO)
        assert run(wire + done(), wants_usage=True)[0] == wire

    def test_usage_beside_choices_passes(self) -> None:
        last = chunk({}, "stop", usage={"prompt_tokens": 1, "completion_tokens": 1})

        out, stream, _ = run(role() + text("x") + last + done())

        assert out == role() + text("x") + last
        assert stream.usage == Usage(1, 1)

    @pytest.mark.parametrize(
        ("given", "leaves"),
        [
            (b"event: ping\n\n", b""),
            (b"data:\n\n", b""),
            (b"data: : ping\n\n", b""),
            (b"id: 7\n\n", b""),
            (b"retry: 10\n\n", b""),
            (b": OPENROUTER PROCESSING\n\n", b": OPENROUTER PROCESSING\n\n"),
            (b"id: 7\n" + text("x"), text("x")),
            (b"event: message\n" + text("x"), text("x")),
            (text("x").replace(b"data: ", b"data:"), text("x").replace(b"data: ", b"data:")),
            (text("x").replace(b"\n\n", b"\r\n\r\n"), text("x").replace(b"\n\n", b"\r\n\r\n")),
            (text("x")[:-1] + text("y"), text("x") + text("y")),
        ],
    )
    def test_odd_framing_leaves_clean(self, given: bytes, leaves: bytes) -> None:
        out, _, broken = run(role() + text("a") + given + finish() + done())

        assert broken is None
        assert out == role() + text("a") + leaves + finish()

    def test_a_last_event_without_its_blank_line_leaves_with_one(self) -> None:
        assert run(role() + text("a") + finish()[:-2])[0] == role() + text("a") + finish()

    def test_nothing_leaves_behind_done(self) -> None:
        assert run(b"".join(HELLO) + done() + text("more"))[0] == b"".join(HELLO)

    def test_done_with_a_blank_behind_is_done(self) -> None:
        assert run(b"".join(HELLO) + b"data: [DONE] \n\n")[1].is_done


class TestCommitPoint:
    @pytest.mark.parametrize(
        "first",
        [
            text("x"),
            chunk({"tool_calls": [{"index": 0, "id": "a"}]}),
            chunk({"refusal": "no"}),
            chunk({"reasoning_content": "hm"}),
            chunk({"reasoning": "hm"}),
            finish(),
            event({"choices": [{"index": 0, "text": "x", "finish_reason": None}]}),
        ],
    )
    def test_content_commits_and_takes_along_what_was_held(self, first: bytes) -> None:
        stream = Stream(wants_usage=False)
        filters = event({"choices": [], "prompt_filter_results": []})

        assert stream.feed(filters) + stream.feed(role()) == b""
        assert not stream.is_committed
        assert stream.feed(first) == filters + role() + first
        assert stream.is_committed

    def test_too_much_before_any_content_breaks_it(self) -> None:
        _, stream, broken = run(role() * 1000)

        assert broken is not None
        assert not stream.is_committed


class TestEnd:
    def test_an_end_without_finish_reason_is_a_truncated_stream(self) -> None:
        broken = run(role() + text("Hel"))[2]

        assert broken is not None
        assert broken.code == "stream_truncated"

    def test_a_finish_reason_is_enough_without_done(self) -> None:
        out, stream, broken = run(b"".join(HELLO))

        assert broken is None
        assert out == b"".join(HELLO)
        assert not stream.is_done

    def test_an_empty_finish_reason_is_none(self) -> None:
        assert run(role() + text("x") + chunk({}, ""))[2] is not None

    def test_every_choice_must_finish(self) -> None:
        wire = role() + text("x") + finish(index=0)

        assert run(wire, choices=2)[2] is not None
        assert run(wire + finish(index=1), choices=2)[2] is None

    def test_json_cut_in_the_middle_does_not_leave(self) -> None:
        out, _, broken = run(role() + text("Hel") + text("lo")[:30])

        assert out == role() + text("Hel")
        assert broken is not None


class TestErrors:
    @pytest.mark.parametrize(
        "frame",
        [
            event({"error": {"message": "boom", "type": "server_error", "code": 502}}),
            event({"object": "error", "message": "boom", "code": 500}),
            event({"id": "x", "choices": [], "error": {"message": "boom"}}),
            b"event: error\ndata: " + json.dumps({"message": "boom"}).encode() + b"\n\n",
            b'{"error":{"message":"boom"}}\n\n',
            event({"error": "boom"}),
        ],
    )
    def test_an_error_inside_breaks_the_stream(self, frame: bytes) -> None:
        out, _, broken = run(role() + text("Hel") + frame)

        assert out == role() + text("Hel")
        assert broken is not None
        assert broken.code == "upstream_error"
        assert "boom" not in str(broken)

    def test_null_errors_and_the_word_in_text_break_nothing(self) -> None:
        wire = role() + text('say "error": {"usage": {}}') + chunk({"content": "x"}, error=None) + finish()

        assert run(wire + done())[0] == wire


class TestUsage:
    def test_the_last_wins_and_is_never_a_sum(self) -> None:
        running = [
            chunk({"content": "x"}, usage={"prompt_tokens": 5, "completion_tokens": n}) for n in (1, 2, 3)
        ]

        stream = run(role() + b"".join(running) + finish() + done())[1]

        assert stream.usage == Usage(5, 3)

    @pytest.mark.parametrize(
        "counts", [{"prompt_tokens": -1}, {"prompt_tokens": "9"}, {"prompt_tokens": 10**15}, {}]
    )
    def test_absurd_usage_is_unknown(self, counts: dict[str, Any]) -> None:
        assert run(b"".join(HELLO) + event({"choices": [], "usage": counts}) + done())[1].usage is None

    def test_details_are_read(self) -> None:
        counts = {
            "prompt_tokens": 10,
            "completion_tokens": 9,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 3},
        }

        stream = run(b"".join(HELLO) + event({"choices": [], "usage": counts}) + done())[1]

        assert stream.usage == Usage(10, 9, 4, 2, 3)


ODDITIES = [
    role(),
    text("Hel"),
    text("lo é\u2028"),
    text('"usage"'),
    text("usage"),
    text("error"),
    text('say "x" \\'),
    text("\\"),
    text("x\n"),
    text(""),
    text("Hel")[:-4] + b"}\n\n",
    b'data: {"choices":[{"index":0,"delta":{"content":"cut\\"},"finish_reason":null}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"a\n\nb"},"finish_reason":null}]}\n\n',
    chunk({"reasoning_content": "hm"}),
    chunk({"content": "second"}, index=1),
    chunk({"content": "u"}, usage={"prompt_tokens": 1, "completion_tokens": 1}),
    b": ping\n\n",
    b"event: ping\n\n",
    b"data:\n\n",
    b"id: 1\n" + text("id"),
    text("a")[:-1] + text("b"),
    text("crlf").replace(b"\n", b"\r\n"),
    text("cr").replace(b"\n", b"\r"),
    b'data: {"choices":[{"index":0,\ndata: "delta":{"content":"two lines"}}]}\n\n',
    event({"choices": [], "usage": None}),
    finish(),
    usage(),
    done(),
    event({"error": {"message": "boom"}}),
]


@settings(max_examples=10_000, deadline=None)
@given(st.lists(st.sampled_from(ODDITIES), max_size=12), st.integers(0, 2**32))
def test_no_cut_changes_what_leaves(events: list[bytes], seed: int) -> None:
    wire = b"".join(events)
    chance = random.Random(seed)  # noqa: S311  # a test's
    cuts = sorted(chance.randrange(len(wire) + 1) for _ in range(chance.randrange(8)))

    whole, whole_stream, whole_error = run(wire)
    cut, cut_stream, cut_error = run(wire, cuts)
    bytewise, bytewise_stream, bytewise_error = (
        run(wire, list(range(1, len(wire)))) if seed % 50 == 0 else run(wire)
    )

    assert cut_stream.usage == whole_stream.usage == bytewise_stream.usage
    assert str(cut_error) == str(whole_error) == str(bytewise_error)
    assert cut == whole == bytewise
    assert cut_stream.relayed_text() == whole_stream.relayed_text() == bytewise_stream.relayed_text()


class TestText:
    def test_all_that_the_model_wrote_is_known(self) -> None:
        call = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a":1}'}}]}
        wire = (
            role() + text("Hel") + text("lo ") + chunk({"reasoning_content": "hm "}) + chunk(call) + finish()
        )

        assert run(wire + done())[1].relayed_text() == 'Hello hm f{"a":1}'

    def test_long_answers_are_kept_small(self) -> None:
        pieces = [text(f"{n} ") for n in range(2000)]

        stream = run(role() + b"".join(pieces) + finish() + done(), list(range(1000, 100_000, 1000)))[1]

        assert stream.relayed_text() == "".join(f"{n} " for n in range(2000))
        kept = stream.said
        packed = sum(len(part) for piece in kept._packed for part in piece.args)
        assert packed + len(kept._texts) + kept._loose_bytes < len(b"".join(pieces)) / 4

    def test_it_is_what_was_returned_and_no_more(self) -> None:
        stream = Stream(wants_usage=False)
        stream.feed(role() + text("Hel"))
        stream.feed(text("lo")[:30])

        assert stream.relayed_text() == "Hel"
