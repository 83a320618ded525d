"""One real model server, one base model, two fine-tunes: each alias answers with its own weights."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

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
def through(model_server: str, gateway: Callable) -> Iterator[OpenAI]:
    """A client of a gateway that knows each voice by an alias, and by a model id of the upstream."""
    models = {f"tiny-{name}": {"set": {"lora": adapters(name)}} for name in VOICES}
    config = {
        "server": {"drain_grace_s": 0},
        "upstreams": {
            "local": {"kind": "openai", "base_url": model_server, "models": {"tiny": {}, **models}},
        },
        "aliases": {name: {"model": "tiny", "upstreams": ["local"], "rewrite": name} for name in VOICES},
        "rewrites": {name: {"set": {"lora": adapters(name)}} for name in VOICES},
    }
    running = gateway(json.dumps(config))
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
    assert ways(through, f"tiny-{voice}") == ways(direct, "tiny", adapters(voice))


def test_voices_asked_at_the_same_time_do_not_mix(direct: OpenAI, through: OpenAI):
    expected = {voice: ask(direct, "tiny", adapters(voice)) for voice in VOICES}
    voices = [*VOICES] * 6
    with ThreadPoolExecutor(len(voices)) as pool:
        answers = list(pool.map(lambda voice: stream(through, voice), voices))
    assert answers == [expected[voice] for voice in voices]
