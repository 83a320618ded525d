"""The official SDK against the product: every shape it reads and every error it raises, sync and async."""

import asyncio
import inspect
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from tests.e2e.conftest import ACME, BASE, SUPPORT
from tests.e2e.gateway_process import GatewayProcess, wait_until
from tests.e2e.upstream_thread import UpstreamThread
from tests.support.fake_upstream import (
    FakeUpstream,
    done,
    drop,
    event,
    finish,
    role,
    stall,
    text,
    until,
)

Ask = Callable[..., Any]
MESSAGES: Any = [{"role": "user", "content": "My printer is on fire"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


NUMBERS = itertools.count()


class Asking:
    """Asks the same thing by the sync or the async SDK; streams are read to their end."""

    def __init__(self, gateway: GatewayProcess, key: str, kind: str) -> None:
        self._gateway = gateway
        self._key = key
        self._kind = kind

    def __call__(
        self,
        what: Callable[[Any], Any],
        *,
        key: str | None = None,
        seen: list[Any] | None = None,
        **options: Any,
    ) -> Any:
        """The answer to `what(client)`; the items of a stream, which also go to `seen` one by one."""
        items = [] if seen is None else seen
        if self._kind == "async":
            return asyncio.run(self._ask_async(what, key or self._key, items, options))
        with self._gateway.sdk(key or self._key, **options) as client:
            answer = what(client)
            if not isinstance(answer, openai.Stream):
                return answer
            for item in answer:
                items.append(item)  # what came before an error is wanted too
            return items

    async def _ask_async(
        self, what: Callable[[Any], Any], key: str, items: list[Any], options: dict[str, Any]
    ) -> Any:
        async with self._gateway.async_sdk(key, **options) as client:
            answer = what(client)
            if inspect.isawaitable(answer):
                answer = await answer
            if isinstance(answer, openai.AsyncStream):
                async for item in answer:
                    items.append(item)  # noqa: PERF401  # as above
                return items
            if hasattr(answer, "__aiter__"):  # a page of a list
                answer.data = [item async for item in answer]
            return answer


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, gateway: GatewayProcess, key: str) -> Asking:
    return Asking(gateway, key, request.param)


def chat(model: str = "support", **fields: Any) -> Callable[[Any], Any]:
    return lambda client: client.chat.completions.create(**({"model": model, "messages": MESSAGES} | fields))


def content_of(chunks: list[Any], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


class TestChat:
    def test_a_whole_reply(self, ask: Ask) -> None:
        reply = ask(chat())

        assert reply.object == "chat.completion"
        assert reply.model == SUPPORT
        assert reply.choices[0].message.content.startswith("[simulated] Ticket")
        assert reply.choices[0].finish_reason == "stop"
        assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0

    def test_a_stream_says_the_same_without_usage(self, ask: Ask) -> None:
        chunks = ask(chat(stream=True, max_tokens=8))

        assert content_of(chunks) == ask(chat(max_tokens=8)).choices[0].message.content
        assert chunks[-1].choices[0].finish_reason == "length"
        assert all(chunk.choices and chunk.usage is None for chunk in chunks)
        assert {chunk.model for chunk in chunks} == {SUPPORT}

    def test_a_stream_with_usage(self, ask: Ask) -> None:
        chunks = ask(chat(stream=True, max_tokens=3, stream_options={"include_usage": True}))

        assert [chunk.choices for chunk in chunks if chunk.usage] == [[]]
        assert chunks[-1].usage.completion_tokens == 3
        assert chunks[-2].choices[0].finish_reason == "length"

    def test_usage_refused_by_name_is_not_sent(self, ask: Ask) -> None:
        chunks = ask(chat(stream=True, max_tokens=2, stream_options={"include_usage": False}))

        assert all(chunk.choices and chunk.usage is None for chunk in chunks)

    def test_several_choices(self, ask: Ask) -> None:
        question: Any = [{"role": "user", "content": "Hi"}]
        whole = ask(chat(BASE, messages=question, n=2, max_tokens=3))
        chunks = ask(chat(BASE, messages=question, n=2, max_tokens=3, stream=True))

        first, second = (choice.message.content for choice in whole.choices)
        assert first != second
        assert (content_of(chunks, 0), content_of(chunks, 1)) == (first, second)

    def test_tools(self, ask: Ask) -> None:
        question: Any = {"role": "user", "content": "What is the weather in Turin?"}

        reply = ask(chat(messages=[question], tools=[WEATHER])).choices[0]
        chunks = ask(chat(messages=[question], tools=[WEATHER], stream=True))

        assert reply.finish_reason == "tool_calls"
        (call,) = reply.message.tool_calls
        assert call.function.name == "get_weather"
        assert set(json.loads(call.function.arguments)) == {"city"}
        deltas = [delta for c in chunks for delta in c.choices[0].delta.tool_calls or []]
        assert "".join(delta.function.arguments for delta in deltas) == call.function.arguments
        assert chunks[-1].choices[0].finish_reason == "tool_calls"

        result = {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}
        messages = [question, reply.message.model_dump(exclude_none=True), result]
        assert "21 degrees" in ask(chat(messages=messages, tools=[WEATHER])).choices[0].message.content

    def test_a_json_schema(self, ask: Ask) -> None:
        schema = {"type": "object", "properties": {"urgent": {"type": "boolean"}}, "required": ["urgent"]}
        wanted = {"type": "json_schema", "json_schema": {"name": "triage", "schema": schema}}

        reply = ask(chat(response_format=wanted))

        assert set(json.loads(reply.choices[0].message.content)) == {"urgent"}

    def test_unknown_fields_pass_both_ways(self, ask: Ask, fake: FakeUpstream) -> None:
        said = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "fake",
            "choices": [],
            "novel": 7,
        }
        fake.answers("fake-novel", said)

        reply = ask(chat("fake-novel", extra_body={"brand_new": {"deep": [1]}}))

        assert reply.model_extra["novel"] == 7
        assert fake.calls_of("fake-novel")[-1].json["brand_new"] == {"deep": [1]}

    def test_headers_of_a_reply(self, ask: Ask) -> None:
        raw = ask(
            lambda client: client.chat.completions.with_raw_response.create(
                model="support", messages=MESSAGES, max_tokens=1
            )
        )

        assert raw.headers["x-tunegate-alias"] == "support"
        assert raw.headers["x-tunegate-model"] == SUPPORT
        assert raw.headers["x-tunegate-upstream"] == "demo"
        assert raw.headers["x-tunegate-fallback"] == "none"
        assert raw.headers["x-tunegate-attempts"] == "1"
        assert raw.headers["x-request-id"].startswith("req_")
        assert raw.parse()._request_id == raw.request_id == raw.headers["x-request-id"]


class TestStreamHelper:
    def test_sync(self, gateway: GatewayProcess, key: str) -> None:
        with (
            gateway.sdk(key) as client,
            client.chat.completions.stream(model="support", messages=MESSAGES) as stream,
        ):
            kinds = [event.type for event in stream]
            final = stream.get_final_completion()

        assert {"chunk", "content.delta", "content.done"} <= set(kinds)
        assert (final.choices[0].message.content or "").startswith("[simulated] Ticket")

    async def test_async(self, gateway: GatewayProcess, key: str) -> None:
        async with (
            gateway.async_sdk(key) as client,
            client.chat.completions.stream(model="support", messages=MESSAGES) as stream,
        ):
            kinds = [event.type async for event in stream]
            final = await stream.get_final_completion()

        assert {"chunk", "content.delta", "content.done"} <= set(kinds)
        assert (final.choices[0].message.content or "").startswith("[simulated] Ticket")

    def test_a_reader_that_leaves_frees_the_upstream(
        self, gateway: GatewayProcess, key: str, fake: FakeUpstream
    ) -> None:
        fake.plays("fake-left", role(), text("Hel"), stall())
        with (
            gateway.sdk(key) as client,
            client.chat.completions.create(model="fake-left", messages=MESSAGES, stream=True) as stream,
        ):
            assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "Hel"]

        wait_until(fake.calls_of("fake-left")[0].closed.is_set, "the end of the upstream's call", within_s=1)

    def test_events_arrive_as_they_are_made(
        self, gateway: GatewayProcess, key: str, fake: FakeUpstream, scripted: UpstreamThread
    ) -> None:
        switch = scripted.switch()
        fake.plays("fake-live", role(), text("Hel"), until(switch.event), text("lo"), finish(), done())
        with gateway.sdk(key) as client:
            stream = client.chat.completions.create(model="fake-live", messages=MESSAGES, stream=True)
            first = [next(stream), next(stream)]
            switch.throw()  # only now does the upstream say the rest
            assert content_of([*first, *stream]) == "Hello"


class TestOtherRoutes:
    def test_embeddings_in_both_encodings(self, ask: Ask) -> None:
        def embed(**fields: Any) -> Callable[[Any], Any]:
            return lambda client: client.embeddings.create(
                model="text-embedding-3-small", input=["one text", "another"], dimensions=64, **fields
            )

        packed, plain = ask(embed()), ask(embed(encoding_format="float"))  # the SDK asks for base64 itself

        assert [each.index for each in plain.data] == [0, 1]
        assert len(plain.data[0].embedding) == 64
        for ours, theirs in zip(packed.data, plain.data, strict=True):
            assert ours.embedding == pytest.approx(theirs.embedding, abs=1e-6)
        assert packed.usage.prompt_tokens == plain.usage.prompt_tokens > 0

    def test_completions(self, ask: Ask) -> None:
        def complete(**fields: Any) -> Callable[[Any], Any]:
            return lambda client: client.completions.create(
                model="support", prompt="Say it", max_tokens=5, **fields
            )

        whole, chunks = ask(complete()), ask(complete(stream=True))

        assert whole.object == "text_completion"
        assert whole.usage.completion_tokens == 5
        assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
        assert chunks[-1].choices[0].finish_reason == "length"

    def test_models(self, ask: Ask) -> None:
        listed = {model.id: model for model in ask(lambda client: client.models.list()).data}

        assert {"support", "acme", "guarded", SUPPORT, BASE, "text-embedding-3-small"} <= set(listed)
        assert listed["support"].model_extra["tunegate"]["target"] == SUPPORT
        for name in ("support", SUPPORT, ACME):  # the last is listed nowhere, but its upstream owns it
            assert ask(lambda client, name=name: client.models.retrieve(name)).id == name

    def test_a_model_that_does_not_exist(self, ask: Ask) -> None:
        with pytest.raises(openai.NotFoundError) as raised:
            ask(lambda client: client.models.retrieve("ft:nothing:nobody::x"))

        assert raised.value.code == "model_not_found"

    def test_a_key_sees_what_it_may_use(self, ask: Ask, gateway: GatewayProcess) -> None:
        narrow = gateway.new_key(aliases=["support"], models=[BASE])

        listed = ask(lambda client: client.models.list(), key=narrow)

        assert {model.id for model in listed.data} == {"support", BASE}

    def test_a_route_of_a_later_version(self, ask: Ask) -> None:
        with pytest.raises(openai.NotFoundError, match="not available in this version"):
            ask(lambda client: client.responses.create(model="support", input="hi"))


class TestRefusals:
    def test_an_unknown_model_and_what_it_may_have_meant(self, ask: Ask) -> None:
        with pytest.raises(openai.NotFoundError, match="support") as raised:
            ask(chat("suport"))

        assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
        assert raised.value.request_id == raised.value.response.headers["x-request-id"]

    @pytest.mark.parametrize("bad", ["sk-of-another-service", "tg-00aaaaaaaaaa-" + 40 * "x"])
    def test_a_key_that_is_none(self, ask: Ask, bad: str) -> None:
        with pytest.raises(openai.AuthenticationError) as raised:
            ask(chat(), key=bad)

        assert raised.value.code == "invalid_api_key"
        assert bad not in raised.value.message

    def test_a_route_the_key_may_not_use(self, ask: Ask, gateway: GatewayProcess) -> None:
        with pytest.raises(openai.PermissionDeniedError) as raised:
            ask(chat(), key=gateway.new_key(routes=["embeddings"]))

        assert raised.value.code == "route_not_allowed"

    @pytest.mark.parametrize("model", ["acme", SUPPORT])
    def test_a_model_the_key_may_not_use(self, ask: Ask, gateway: GatewayProcess, model: str) -> None:
        with pytest.raises(openai.PermissionDeniedError) as raised:
            ask(chat(model), key=gateway.new_key(aliases=["support"]))

        assert (raised.value.code, raised.value.param) == ("model_not_allowed", "model")

    def test_what_the_upstream_refuses_passes(self, ask: Ask, fake: FakeUpstream) -> None:
        said = "This model's maximum context length is 8 tokens."
        fake.refuses("fake-400", 400, "context_length_exceeded", said, param="messages")

        with pytest.raises(openai.BadRequestError, match="maximum context length") as raised:
            ask(chat("fake-400"))

        assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "messages")

    def test_a_request_that_cannot_be_read(self, ask: Ask) -> None:
        with pytest.raises(openai.BadRequestError) as raised:
            ask(chat(stream="yes"))

        assert raised.value.param == "stream"


class TestFailures:
    @pytest.fixture(autouse=True)
    def _serves(self, ask: Ask) -> None:
        """Let the upstream serve between its failures, or its breaker would open."""
        for _ in range(8):
            ask(chat("fake-fine"))

    def test_rate_limits_of_every_upstream(self, ask: Ask, fake: FakeUpstream) -> None:
        model = f"fake-429-{next(NUMBERS)}"  # one that was limited is left alone for a while
        fake.answers(model, {"error": {"message": "Slow down"}}, 429, {"retry-after": "10.7"})

        with pytest.raises(openai.RateLimitError) as raised:
            ask(chat(model))

        assert raised.value.code == "rate_limit_exceeded"
        assert raised.value.response.headers["retry-after-ms"] == "10700"
        assert raised.value.response.headers["retry-after"] == "11"

    def test_the_sdk_waits_as_long_as_it_is_told(self, ask: Ask, fake: FakeUpstream) -> None:
        model = f"fake-wait-{next(NUMBERS)}"
        fake.answers(model, {"error": {"message": "Slow down"}}, 429, {"retry-after": "0.7"})
        before, calls = time.monotonic(), len(fake.calls_of(model))

        # Given so little time the gateway does not wait itself.
        reply = ask(chat(model, extra_headers={"x-tunegate-timeout-s": "0.6"}), max_retries=1)

        assert reply.choices[0].message.content == "Hello"
        assert len(fake.calls_of(model)) == calls + 2
        assert time.monotonic() - before >= 0.7  # by itself it waits half a second at most

    def test_an_error_in_the_middle_of_a_stream(self, ask: Ask, fake: FakeUpstream) -> None:
        fake.plays("fake-cut", role(), text("Hel"), drop())
        seen: list[Any] = []

        with pytest.raises(openai.APIError) as raised:
            ask(chat("fake-cut", stream=True), seen=seen)

        assert content_of(seen) == "Hel"
        assert not isinstance(raised.value, openai.APIStatusError)
        assert raised.value.code == "stream_truncated"
        assert raised.value.type == "server_error"

    def test_an_error_of_the_upstream_in_the_middle_of_a_stream(self, ask: Ask, fake: FakeUpstream) -> None:
        fake.plays("fake-lost", role(), text("Hel"), event({"error": {"message": "GPU lost"}}), stall())

        with pytest.raises(openai.APIError, match="reported an error inside the stream") as raised:
            ask(chat("fake-lost", stream=True))

        assert raised.value.code == "upstream_error"
        assert "GPU" not in raised.value.message

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_failed_upstream_with_nothing_behind_it(
        self, ask: Ask, fake: FakeUpstream, stream: bool
    ) -> None:
        fake.refuses("fake-500", 500, "boom", "At 10.0.0.7 something broke", times=3)

        with pytest.raises(openai.InternalServerError) as raised:
            ask(chat("fake-500", stream=stream))

        assert (raised.value.status_code, raised.value.code) == (502, "upstream_error")
        assert "10.0.0.7" not in raised.value.message

    def test_an_upstream_nobody_can_reach(self, ask: Ask) -> None:
        with pytest.raises(openai.InternalServerError) as raised:
            ask(chat("down-model"))

        assert (raised.value.status_code, raised.value.code) == (502, "upstream_error")

    def test_no_upstream_left(self, ask: Ask) -> None:
        with pytest.raises(openai.InternalServerError) as raised:
            ask(chat("off"))

        assert (raised.value.status_code, raised.value.code) == (503, "no_upstream")
        assert raised.value.response.headers["retry-after"] == "1"

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_fallback_hides_the_failure(self, ask: Ask, fake: FakeUpstream, stream: bool) -> None:
        fake.refuses("fake-guarded", 503)

        raw = ask(
            lambda client: client.chat.completions.with_raw_response.create(
                model="guarded", messages=MESSAGES, max_tokens=2, stream=stream
            )
        )

        assert raw.headers["x-tunegate-fallback"] == "server_error"
        assert raw.headers["x-tunegate-attempts"] == "2"
        assert raw.headers["x-tunegate-model"] == SUPPORT


@pytest.fixture(autouse=True)
def _nothing_left_to_play(fake: FakeUpstream) -> Iterator[None]:
    """A script that no call used would be played to another test."""
    yield
    assert [model for model, left in fake._scripts.items() if left] == []
