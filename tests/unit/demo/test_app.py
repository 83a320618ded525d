"""The demo upstream seen through the official SDK, over a real socket."""

import asyncio
import json
import math
from datetime import date

import httpx2
import openai
import pytest

from gateway.demo.app import Pacing
from gateway.demo.models import BASE, EMBEDDING, SUPPORT, SUPPORT_NEXT
from tests.unit.demo.conftest import NOW, Demo

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
        },
    },
}


def user(text: str) -> list:
    return [{"role": "user", "content": text}]


def dot(left: list[float], right: list[float]) -> float:
    return sum(x * y for x, y in zip(left, right, strict=True))


@pytest.mark.parametrize("model", [BASE, SUPPORT, SUPPORT_NEXT])
async def test_a_reply_says_that_it_is_simulated(client: openai.AsyncOpenAI, model: str) -> None:
    reply = await client.chat.completions.create(model=model, messages=user("Hello"))
    assert "simulated" in reply.choices[0].message.content
    assert reply.model == model
    assert reply.choices[0].finish_reason == "stop"
    assert (reply.service_tier, reply.system_fingerprint) == ("default", "fp_demo000000")


async def test_every_model_has_a_manner_of_its_own(client: openai.AsyncOpenAI) -> None:
    texts = {
        model: (await client.chat.completions.create(model=model, messages=user("Hello")))
        .choices[0]
        .message.content
        for model in (BASE, SUPPORT, SUPPORT_NEXT)
    }
    assert len(set(texts.values())) == 3
    assert len(texts[SUPPORT]) < len(texts[BASE]) / 2


async def test_a_stream_spells_the_whole_reply_and_ends_with_usage(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model=SUPPORT, messages=user("Hi"), n=2)
    stream = await client.chat.completions.create(
        model=SUPPORT, messages=user("Hi"), n=2, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    for index in (0, 1):
        mine = [c.choices[0] for c in chunks if c.choices and c.choices[0].index == index]
        assert mine[0].delta.role == "assistant"
        assert "".join(part.delta.content or "" for part in mine) == whole.choices[index].message.content
        assert [part.finish_reason for part in mine if part.finish_reason] == ["stop"]
    assert {c.id for c in chunks} == {chunks[0].id}
    assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].usage == whole.usage
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


async def test_events_are_framed_as_the_official_service_frames_them(http: httpx2.AsyncClient) -> None:
    body = {"model": BASE, "messages": user("Grüße 🦊 \u2028"), "stream": True}
    reply = await http.post("/v1/chat/completions", json=body)
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = reply.content.split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    assert all(event.startswith(b'data: {"') for event in events[:-2])
    assert all("usage" not in json.loads(event[6:]) for event in events[:-2])
    assert "Grüße 🦊".encode() in b"".join(
        json.loads(event[6:])["choices"][0]["delta"].get("content", "").encode() for event in events[:-2]
    )


async def test_it_paces_itself_like_a_model(client: openai.AsyncOpenAI, demo: Demo) -> None:
    pacing = Pacing()
    stream = await client.chat.completions.create(model=SUPPORT, messages=user("Hi"), stream=True)
    chunks = [chunk async for chunk in stream]
    assert demo.pauses[0] == pacing.first_token_s
    later = demo.pauses[1:]
    assert len(later) == len(chunks) - 3  # the role and the first token come together, the end at once
    assert all(pacing.between_s[0] <= pause <= pacing.between_s[1] for pause in later)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_cuts_the_reply(client: openai.AsyncOpenAI, field: str) -> None:
    reply = await client.chat.completions.create(model=BASE, messages=user("Hi"), **{field: 5})
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 5


async def test_the_smaller_of_two_limits_holds(client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(
        model=BASE, messages=user("Hi"), max_tokens=9, max_completion_tokens=4, n=3
    )
    assert reply.usage.completion_tokens == 12


async def test_a_stop_sequence_ends_the_reply_before_itself(client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(model=SUPPORT, messages=user("Hi"), stop=["Retry", "2)"])
    assert reply.choices[0].message.content.endswith("Sign out and in. ")
    assert reply.choices[0].finish_reason == "stop"


async def test_it_calls_the_tool_that_the_text_asks_for(client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(
        model=BASE, messages=user("What is the weather in New York, in fahrenheit?"), tools=[WEATHER]
    )
    assert reply.choices[0].finish_reason == "tool_calls"
    assert reply.choices[0].message.content is None
    (call,) = reply.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "New York", "unit": "fahrenheit"}


async def test_a_streamed_tool_call_carries_its_id_once(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=BASE, messages=user("weather?"), tools=[WEATHER], stream=True
    )
    deltas = [c.choices[0].delta async for c in stream]
    calls = [delta.tool_calls[0] for delta in deltas if delta.tool_calls]
    assert calls[0].function.name == "get_weather"
    assert calls[0].id
    assert all(call.id is None for call in calls[1:])
    assert json.loads("".join(call.function.arguments for call in calls))["unit"] == "celsius"


@pytest.mark.parametrize(
    ("choice", "finish_reason"),
    [
        ("auto", "stop"),
        ("none", "stop"),
        ("required", "tool_calls"),
        ({"type": "function", "function": {"name": "get_weather"}}, "stop"),
    ],
)
async def test_tool_choice_is_obeyed(client: openai.AsyncOpenAI, choice: object, finish_reason: str) -> None:
    reply = await client.chat.completions.create(
        model=BASE, messages=user("Good morning"), tools=[WEATHER], tool_choice=choice
    )
    assert reply.choices[0].finish_reason == finish_reason
    assert bool(reply.choices[0].message.tool_calls) == (choice not in ("auto", "none"))


async def test_it_answers_what_a_tool_returned(client: openai.AsyncOpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    reply = await client.chat.completions.create(
        model=BASE,
        messages=[
            *user("weather?"),
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"},
        ],
        tools=[WEATHER],
    )
    assert "18 degrees" in reply.choices[0].message.content


async def test_structured_replies_follow_their_schema(client: openai.AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
    reply = await client.chat.completions.create(
        model=BASE,
        messages=user("Meet Ada Lovelace, who is 36"),
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema}},
    )
    assert json.loads(reply.choices[0].message.content) == {"name": "Ada Lovelace", "age": 36}
    reply = await client.chat.completions.create(
        model=SUPPORT, messages=user("in JSON please"), response_format={"type": "json_object"}
    )
    assert json.loads(reply.choices[0].message.content) == {"simulated": True, "you_wrote": "in JSON please"}


async def test_logprobs_cover_every_token(client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(
        model=SUPPORT, messages=user("Hi"), logprobs=True, top_logprobs=20, max_tokens=4
    )
    content = reply.choices[0].logprobs.content
    assert "".join(item.token for item in content) == reply.choices[0].message.content
    assert all(len({top.token for top in item.top_logprobs}) == 20 for item in content)
    assert all(item.logprob == item.top_logprobs[0].logprob for item in content)


async def test_completions_have_the_official_default_length(client: openai.AsyncOpenAI) -> None:
    reply = await client.completions.create(model=BASE, prompt=["Once", "upon"], n=2)
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert {choice.finish_reason for choice in reply.choices} == {"length"}
    assert reply.usage.completion_tokens == 64
    stream = await client.completions.create(model=BASE, prompt="Once", stream=True, echo=True, max_tokens=3)
    texts = [chunk.choices[0].text async for chunk in stream]
    assert texts[0] == "Once"
    assert len(texts) == 5


async def test_embeddings_are_unit_vectors_in_either_encoding(client: openai.AsyncOpenAI) -> None:
    packed = await client.embeddings.create(model=EMBEDDING, input=["red apples", "red pears", "tax law"])
    plain = await client.embeddings.create(model=EMBEDDING, input="red apples", encoding_format="float")
    red_apples, red_pears, tax_law = (item.embedding for item in packed.data)
    assert len(red_apples) == 1536
    assert math.sqrt(sum(x * x for x in red_apples)) == pytest.approx(1, abs=1e-4)
    assert red_apples == pytest.approx(plain.data[0].embedding, abs=1e-6)
    assert dot(red_apples, red_pears) > dot(red_apples, tax_law) + 0.2
    assert packed.usage.prompt_tokens == 6


async def test_embeddings_shorten_to_the_dimensions_asked_for(client: openai.AsyncOpenAI) -> None:
    reply = await client.embeddings.create(model=EMBEDDING, input=[[1, 2, 3]], dimensions=8)
    assert len(reply.data[0].embedding) == 8
    assert math.hypot(*reply.data[0].embedding) == pytest.approx(1, abs=1e-4)
    assert reply.usage.prompt_tokens == 3


async def test_models_are_listed_with_a_date_sixty_days_ahead(client: openai.AsyncOpenAI) -> None:
    models = [model async for model in client.models.list()]
    assert [model.id for model in models] == [SUPPORT, SUPPORT_NEXT, BASE, EMBEDDING]
    for model in [*models, await client.models.retrieve(SUPPORT)]:
        ahead = date.fromisoformat(model.shutdown_date) - date.fromtimestamp(NOW)  # noqa: DTZ012 - local is fine
        assert 59 <= ahead.days <= 61
        assert model.owned_by == "demo (simulated)"
        assert model.model_extra["simulated"] is True


async def test_errors_on_demand_strike_fine_tuned_models_only(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as limited:
        await client.chat.completions.create(model=SUPPORT, messages=user("demo:error 429"), stream=True)
    assert limited.value.response.headers["retry-after"] == "1"
    assert limited.value.code == "rate_limit_exceeded"
    reply = await client.chat.completions.create(model=BASE, messages=user("demo:error 429"))
    assert reply.choices[0].finish_reason == "stop"
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(model=BASE, messages=user("demo:error 500 all"))


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_breaks_the_connection_midway(http: httpx2.AsyncClient, stream: bool) -> None:
    body = {"model": SUPPORT, "messages": user("demo:cut"), "stream": stream}
    received = bytearray()

    async def read() -> None:
        async with http.stream("POST", "/v1/chat/completions", json=body) as reply:
            assert reply.status_code == 200
            async for chunk in reply.aiter_raw():
                received.extend(chunk)

    with pytest.raises(httpx2.RemoteProtocolError):
        await read()
    assert b"simulat" in received
    assert b"[DONE]" not in received


async def test_slow_waits_before_the_first_token(client: openai.AsyncOpenAI, demo: Demo) -> None:
    await client.chat.completions.create(model=SUPPORT, messages=user("demo:slow 90"))
    assert demo.pauses[0] == pytest.approx(90.15)


async def test_it_stops_when_the_client_leaves(http: httpx2.AsyncClient, demo: Demo) -> None:
    body = {"model": BASE, "messages": user("Hi"), "stream": True, "n": 128}
    async with http.stream("POST", "/v1/chat/completions", json=body) as reply:
        await anext(reply.aiter_raw())
    seen = -1
    while seen != (seen := len(demo.pauses)):  # until the server makes no more pauses
        await asyncio.sleep(0.02)
    assert seen < 128 * 40  # the whole reply takes more than twice as many


REFUSED = [
    ({"model": "gpt-unknown"}, 404, "model_not_found", None),
    ({"model": None}, 400, None, None),
    ({"model": 7}, 400, "invalid_type", "model"),
    ({"model": EMBEDDING}, 404, None, "model"),
    ({"messages": None}, 400, "missing_required_parameter", "messages"),
    ({"messages": "hi"}, 400, "invalid_type", "messages"),
    ({"messages": []}, 400, "empty_array", "messages"),
    ({"messages": [{"content": "hi"}]}, 400, "missing_required_parameter", "messages[0].role"),
    ({"messages": [{"role": "boss", "content": "hi"}]}, 400, "invalid_value", "messages[0].role"),
    ({"messages": [{"role": "user"}]}, 400, "missing_required_parameter", "messages[0].content"),
    ({"messages": [{"role": "user", "content": 7}]}, 400, "invalid_type", "messages[0].content"),
    ({"messages": [{"role": "user", "content": [7]}]}, 400, "invalid_type", "messages[0].content[0]"),
    ({"n": 0}, 400, "integer_below_min_value", "n"),
    ({"n": 129}, 400, "integer_above_max_value", "n"),
    ({"n": "2"}, 400, "invalid_type", "n"),
    ({"max_tokens": True}, 400, "invalid_type", "max_tokens"),
    ({"temperature": 3}, 400, "decimal_above_max_value", "temperature"),
    ({"stream": "yes"}, 400, "invalid_type", "stream"),
    ({"stream_options": {"include_usage": True}}, 400, None, "stream_options"),
    ({"stop": ["a", "b", "c", "d", "e"]}, 400, "array_above_max_length", "stop"),
    ({"tools": [{"type": "retrieval"}]}, 400, "invalid_value", "tools[0].type"),
    ({"tool_choice": "auto"}, 400, None, "tool_choice"),
    ({"response_format": {"type": "xml"}}, 400, "invalid_value", "response_format.type"),
    ({"top_logprobs": 3}, 400, None, "top_logprobs"),
]


@pytest.mark.parametrize(("change", "status", "code", "param"), REFUSED)
async def test_mistakes_are_refused_in_the_official_shape(
    http: httpx2.AsyncClient, change: dict, status: int, code: str | None, param: str | None
) -> None:
    body = {"model": BASE, "messages": user("hi"), **change}
    reply = await http.post("/v1/chat/completions", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (status, code, param)
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/nothing", 404, "Invalid URL (GET /v1/nothing)"),
        ("GET", "/v1/chat/completions", 405, "Not allowed to GET on /v1/chat/completions."),
        ("DELETE", f"/v1/models/{SUPPORT}", 405, f"Not allowed to DELETE on /v1/models/{SUPPORT}."),
    ],
)
async def test_routes_that_are_none(
    http: httpx2.AsyncClient, method: str, path: str, status: int, message: str
) -> None:
    reply = await http.request(method, path)
    assert (reply.status_code, reply.json()["error"]["message"]) == (status, message)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 100_000, b"\xff"])
async def test_a_body_that_is_no_object_is_refused(http: httpx2.AsyncClient, body: bytes) -> None:
    reply = await http.post("/v1/embeddings", content=body)
    assert reply.status_code == 400
    assert "could not parse" in reply.json()["error"]["message"]


async def test_half_a_surrogate_pair_comes_back_as_valid_utf8(http: httpx2.AsyncClient) -> None:
    body = b'{"model":"%s","messages":[{"role":"user","content":"\\ud83d"}]}' % BASE.encode()
    reply = await http.post("/v1/chat/completions", content=body)
    assert '"?"' in reply.json()["choices"][0]["message"]["content"]
