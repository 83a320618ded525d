"""One real model server, one base model, two fine-tunes: each alias answers with its own weights."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from openai import OpenAI
from running import adapters, running_model_server
from voices import VOICES

MESSAGES = [{"role": "user", "content": "What do you see?"}]


@pytest.fixture(scope="module")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the tiny model in its own environment; the base URL of its API."""
    with running_model_server(tmp_path_factory.mktemp("models")) as url:
        yield url


@pytest.fixture(scope="module")
def direct(model_server: str) -> Iterator[OpenAI]:
    """A client of the model server itself."""
    with OpenAI(base_url=model_server, api_key="none", max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def running(model_server: str, gateway: Callable) -> Any:
    """A gateway that knows each voice as a model, chosen by a field of the body, and by an alias of it."""
    models = {f"tiny-{name}": {"set": {"lora": adapters(name)}} for name in VOICES}
    local = {
        "kind": "openai",
        "base_url": model_server,
        "models": {"tiny": {}, **models},
        "prices": {"tiny-*": {"input": 1.0, "output": 2.0}},
    }
    config = {
        "server": {"drain_grace_s": 0},
        "upstreams": {"local": local},
        "aliases": {
            **{name: {"model": f"tiny-{name}"} for name in VOICES},
            **{f"{name}-by-rewrite": {"model": "tiny", "rewrite": name} for name in VOICES},
        },
        "rewrites": {name: {"set": {"lora": adapters(name)}} for name in VOICES},
    }
    return gateway(json.dumps(config))


@pytest.fixture(scope="module")
def through(running: Any) -> Iterator[OpenAI]:
    """A client of that gateway."""
    with OpenAI(base_url=running.base_url, api_key=running.key, max_retries=0, timeout=30) as client:
        yield client


def ask(client: OpenAI, model: str, lora: list[dict] | None = None) -> str:
    extra = None if lora is None else {"lora": lora}
    answer = client.chat.completions.create(
        model=model, messages=MESSAGES, temperature=0, max_tokens=12, extra_body=extra
    )
    assert answer.usage.completion_tokens == 12
    return answer.choices[0].message.content


def stream(client: OpenAI, model: str, lora: list[dict] | None = None) -> str:
    extra = None if lora is None else {"lora": lora}
    with client.chat.completions.create(
        model=model, messages=MESSAGES, temperature=0, max_tokens=12, stream=True, extra_body=extra
    ) as events:
        return "".join(event.choices[0].delta.content or "" for event in events if event.choices)


@pytest.mark.parametrize("ways", [ask, stream], ids=["json", "stream"])
def test_the_server_itself_speaks_with_three_voices(direct: OpenAI, ways: Callable):
    answers = {voice: ways(direct, "tiny", adapters(voice)) for voice in VOICES}
    assert len(set(answers.values())) == 3
    for voice, answer in answers.items():
        assert set(answer.split()) <= set(VOICES[voice])
    assert ways(direct, "tiny") == answers["gardener"]  # a request that names no adapter


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("ways", [ask, stream], ids=["json", "stream"])
def test_an_alias_answers_as_its_adapter_does_directly(
    direct: OpenAI, through: OpenAI, voice: str, ways: Callable
):
    answer = ways(through, voice)
    assert answer == ways(direct, "tiny", adapters(voice))
    assert set(answer.split()) <= set(VOICES[voice])


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("ways", [ask, stream], ids=["json", "stream"])
def test_a_model_id_may_stand_for_a_request_field(
    direct: OpenAI, through: OpenAI, voice: str, ways: Callable
):
    expected = ways(direct, "tiny", adapters(voice))
    assert ways(through, f"tiny-{voice}") == expected
    assert ways(through, f"{voice}-by-rewrite") == expected


def test_voices_asked_at_the_same_time_do_not_mix(direct: OpenAI, through: OpenAI):
    expected = {voice: ask(direct, "tiny", adapters(voice)) for voice in VOICES}
    voices = [*VOICES] * 6
    with ThreadPoolExecutor(len(voices)) as pool:
        answers = list(pool.map(lambda voice: stream(through, voice), voices))
    assert answers == [expected[voice] for voice in voices]


def test_each_voice_is_a_model_like_any_other(running: Any, through: OpenAI):
    listed = {model.id for model in through.models.list()}
    assert {f"tiny-{voice}" for voice in VOICES} | set(VOICES) <= listed
    for voice in VOICES:
        answer = through.chat.completions.with_raw_response.create(
            model=voice, messages=MESSAGES, temperature=0, max_tokens=12
        )
        assert answer.headers["x-tunegate-model"] == f"tiny-{voice}"
        used = answer.parse().usage
        nano = 1000 * used.prompt_tokens + 2000 * used.completion_tokens
        assert float(answer.headers["x-tunegate-cost-usd"]) == pytest.approx(nano / 1e9)
        [attempt] = running.admin("GET", f"/admin/v1/explain?model={voice}")["attempts"]
        assert (attempt["model"], attempt["price_usd_per_million"]["output"]) == (f"tiny-{voice}", 2.0)


def test_a_probe_of_a_real_server(running: Any):
    """llama.cpp takes all that is asked of it, with a template of chat as plain as this one."""
    found = running.admin("POST", "/admin/v1/upstreams/local/probe", {"model": "tiny-gardener"})
    assert (found["settings"], found["unknown"]) == ({}, [])
    assert found["notes"] == ["It takes any model id: one that is gone there is not noticed."]
    assert found["spent"]["cost_nanousd"] <= found["estimate"]["cost_nanousd"]
