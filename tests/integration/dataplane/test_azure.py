"""Azure as an upstream: a double that refuses what Azure refuses."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from gateway.upstream import entra
from tests.integration.dataplane.conftest import StartGateway
from tests.support.azure import KEY, AzureDouble, filtered, prompt_frame, running_azure, said
from tests.support.client import Client, client_of
from tests.support.fake_upstream import FakeUpstream, done, stall
from tests.support.gateway import RunningGateway

MODEL = "support-az"
TUNED = "gpt-4.1-mini-2025-04-14.ft-b044a9d3cf9c4228b5d393567f693b83"


@pytest.fixture
async def azure() -> AsyncIterator[AzureDouble]:
    async with running_azure({"support-dep": "gpt-4.1-mini-2025-04-14", "plain": "gpt-4o"}) as azure:
        yield azure


async def start(
    start_gateway: StartGateway, azure: AzureDouble, tail: str = "", **fields: Any
) -> RunningGateway:
    block = {
        "kind": "azure",
        "base_url": azure.url + tail,
        "api_keys": [KEY],
        "deployments": {MODEL: "support-dep", TUNED: "support-dep"},
        "models": ["plain"],
    } | fields
    aliases = {"support": {"model": MODEL}}
    return await start_gateway({"azure": block}, aliases)


def sdk(gateway: RunningGateway, key: str) -> openai.AsyncOpenAI:
    http = openai.DefaultAsyncHttpxClient(trust_env=False, verify=False)  # no TLS here
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, http_client=http)


SURFACES: list[tuple[str, dict[str, Any], str]] = [
    ("", {}, "/openai/v1/chat/completions"),
    ("/openai", {}, "/openai/v1/chat/completions"),
    ("/openai/v1/", {}, "/openai/v1/chat/completions"),
    ("", {"api_version": "preview"}, "/openai/v1/chat/completions?api-version=preview"),
    (
        "/openai",
        {"api_version": "2024-10-21"},
        "/openai/deployments/support-dep/chat/completions?api-version=2024-10-21",
    ),
]


@pytest.mark.parametrize(("tail", "fields", "path"), SURFACES)
async def test_the_official_sdk_through_both_surfaces(
    start_gateway: StartGateway, azure: AzureDouble, tail: str, fields: dict[str, Any], path: str
) -> None:
    gateway = await start(start_gateway, azure, tail, **fields)
    async with sdk(gateway, await gateway.new_key()) as client:
        whole = await client.chat.completions.create(
            model="support", messages=[{"role": "user", "content": "hi"}]
        )
        assert whole.choices[0].message.content == "Hello"
        assert whole.model == "gpt-4.1-mini-2025-04-14", "as Azure wrote it"
        assert whole.usage is not None
        assert whole.usage.total_tokens == 9
        stream = await client.chat.completions.create(
            model="support",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.total_tokens == 9
        vectors = await client.embeddings.create(model=MODEL, input="hi", encoding_format="float")
        assert vectors.data[0].embedding == [0.5, -0.5]
    assert azure.calls[0].path == path
    assert azure.calls[0].json["model"] == "support-dep"
    assert "authorization" not in azure.calls[0].headers
    assert all(call.headers["api-key"] == KEY for call in azure.calls)


async def test_the_model_is_the_id_and_not_the_deployment(
    start_gateway: StartGateway, azure: AzureDouble
) -> None:
    gateway = await start(start_gateway, azure, api_version="2024-10-21")
    async with client_of(gateway.url, await gateway.new_key()) as client:
        reply = await client.chat()
        assert (reply.headers["x-tunegate-model"], reply.headers["x-tunegate-upstream"]) == (MODEL, "azure")
        assert (await client.chat("plain")).headers["x-tunegate-model"] == "plain"
        assert (await client.chat("support-dep")).status_code == 404, "no id of ours"
        listed = [model["id"] for model in (await client.get("/v1/models")).json()["data"]]
        assert sorted(listed) == sorted(["support", MODEL, TUNED, "plain"])


async def test_ids_of_fine_tunes_as_azure_has_them(start_gateway: StartGateway, azure: AzureDouble) -> None:
    gateway = await start(start_gateway, azure, prices={f"{TUNED[:10]}*": {"input": 1, "output": 2}})
    async with client_of(gateway.url, await gateway.new_key()) as client:
        reply = await client.chat(TUNED)
        assert reply.headers["x-tunegate-cost-usd"] == "0.000011"
        assert azure.calls[-1].json["model"] == "support-dep"


async def test_a_missing_deployment_moves_on(
    start_gateway: StartGateway, azure: AzureDouble, relay: FakeUpstream
) -> None:
    gateway = await start_gateway(
        {
            "azure": {
                "kind": "azure",
                "base_url": azure.url,
                "api_keys": [KEY],
                "deployments": {MODEL: "gone-dep"},
            },
            "relay": {"base_url": relay.url, "models": ["gpt-x"]},
        },
        {"support": {"model": MODEL, "fallbacks": ["gpt-x"]}, "alone": {"model": MODEL}},
    )
    async with client_of(gateway.url, await gateway.new_key()) as client:
        reply = await client.chat()
        assert (reply.headers["x-tunegate-upstream"], reply.headers["x-tunegate-fallback"]) == (
            *("relay", "model_not_found"),
        )
        assert relay.calls[-1].json["model"] == "gpt-x"
        error = (await client.chat("alone")).json()["error"]
        assert error["code"] == "model_not_found"


async def test_the_filters_first_frame_commits_nothing(
    start_gateway: StartGateway, azure: AzureDouble, relay: FakeUpstream
) -> None:
    """It passes on with the rest; as long as nothing else came the call may move on."""
    gateway = await start_gateway(
        {
            "azure": {
                "kind": "azure",
                "base_url": azure.url,
                "api_keys": [KEY],
                "deployments": {MODEL: "support-dep"},
                "timeouts": {"first_token_s": 0.3},
            },
            "relay": {"base_url": relay.url, "models": ["gpt-x"]},
        },
        {"support": {"model": MODEL, "fallbacks": ["gpt-x"]}},
    )
    azure.plays("support-dep", prompt_frame(), stall())
    async with client_of(gateway.url, await gateway.new_key()) as client:
        reply = await client.chat(stream=True)
        assert (reply.headers["x-tunegate-upstream"], reply.headers["x-tunegate-fallback"]) == (
            *("relay", "timeout"),
        )
        assert "prompt_filter_results" not in reply.text
        reply = await client.chat(stream=True)
        assert reply.headers["x-tunegate-upstream"] == "azure"
        first, *_ = reply.text.split("\n\n")
        assert '"choices": [], ' in first.replace('"choices":[],', '"choices": [], ')
        assert "prompt_filter_results" in first


async def test_an_answer_that_the_filter_cuts_is_complete(
    start_gateway: StartGateway, azure: AzureDouble
) -> None:
    gateway = await start(start_gateway, azure)
    azure.plays("support-dep", prompt_frame(), said("Hel"), filtered(), done())
    async with client_of(gateway.url, await gateway.new_key()) as client:
        reply = await client.chat(stream=True)
        assert '"content_filter"' in reply.text
        assert '"severity":"high"' in reply.text
        assert reply.text.endswith("data: [DONE]\n\n")


async def test_a_prompt_that_the_filter_refuses_is_the_callers(
    start_gateway: StartGateway, azure: AzureDouble
) -> None:
    gateway = await start(start_gateway, azure)
    azure.refuses("support-dep", 400, "content_filter", "Filtered.", param="prompt", innererror={"code": "X"})
    async with client_of(gateway.url, await gateway.new_key()) as client:
        reply = await client.chat()
        assert reply.status_code == 400
        assert (reply.json()["error"]["code"], reply.json()["error"]["param"]) == ("content_filter", "prompt")


async def test_old_versions_refuse_what_they_do_not_know(
    start_gateway: StartGateway, azure: AzureDouble
) -> None:
    """`stream_usage` and quirks are there for them."""
    version = "2024-02-01"
    gateway = await start(start_gateway, azure, api_version=version)
    async with client_of(gateway.url, await gateway.new_key()) as client:
        refused = await client.chat(stream=True)
        assert refused.status_code == 400
        assert "stream_options" in refused.json()["error"]["message"]
    gateway = await start(
        start_gateway,
        azure,
        api_version=version,
        stream_usage=False,
        quirks={"max_tokens": "max_tokens", "refuses": ["parallel_tool_calls", "store"]},
    )
    async with client_of(gateway.url, await gateway.new_key()) as client:
        reply = await client.chat(stream=True, max_completion_tokens=5, parallel_tool_calls=True, store=False)
        assert reply.text.endswith("data: [DONE]\n\n")
    assert azure.calls[-1].json["max_tokens"] == 5


async def test_a_key_as_a_bearer_is_refused(start_gateway: StartGateway, azure: AzureDouble) -> None:
    """The double is strict: an upstream of kind openai does not get in."""
    gateway = await start_gateway(
        {"wrong": {"base_url": f"{azure.url}/openai/v1", "api_keys": [KEY], "models": ["plain"]}}, {}
    )
    async with client_of(gateway.url, await gateway.new_key()) as client:
        assert (await client.chat("plain")).status_code == 502
    assert azure.calls


class TestWaits:
    """What a 429 says of the time to wait."""

    @staticmethod
    async def waits(client: Client, azure: AzureDouble, **headers: str) -> float:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        azure.refuses("support-dep", 429, "RateLimitReached", times=9, headers=named)
        reply = await client.chat()
        assert reply.status_code == 429, reply.text
        return int(reply.headers["retry-after-ms"]) / 1000

    @pytest.mark.parametrize(
        ("headers", "least", "most"),
        [
            ({"retry_after_ms": "20500", "retry_after": "60"}, 20, 20.5),
            ({"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "25"}, 24, 25),
            ({"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "1m5s"}, 64, 65),
            ({"x_ratelimit_remaining_tokens": "-1", "x_ratelimit_reset_tokens": "0"}, 0, 5),
            ({"x_ratelimit_remaining_tokens": "9", "x_ratelimit_reset_tokens": "300"}, 0, 5),
        ],
    )
    async def test_headers(
        self,
        start_gateway: StartGateway,
        azure: AzureDouble,
        headers: dict[str, str],
        least: float,
        most: float,
    ) -> None:
        gateway = await start(start_gateway, azure)
        async with client_of(gateway.url, await gateway.new_key()) as client:
            assert least <= await self.waits(client, azure, **headers) <= most


class _Credential:
    """An identity of the tests."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *scopes: str) -> Any:
        assert scopes == ("https://cognitiveservices.azure.com/.default",)
        return type("AccessToken", (), {"token": self._token, "expires_on": 2**40})

    def close(self) -> None:
        pass


async def test_a_token_of_entra(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token = "eyJ0-entra-token-0123456789"
    monkeypatch.setattr(entra, "default_credential", lambda: _Credential(token))
    monkeypatch.setattr("gateway.config.upstream.has_azure_identity", lambda: True)
    async with running_azure({"support-dep": "gpt-4o"}, tokens=(token,)) as azure:
        gateway = await start(start_gateway, azure, auth="entra", api_keys=[], models=None)
        async with client_of(gateway.url, await gateway.new_key()) as client:
            assert (await client.chat()).status_code == 200
            assert azure.calls[-1].headers["authorization"] == f"Bearer {token}"
            azure.refuses("support-dep", 400, None, f"You sent {token}.")
            echoed = await client.chat()
            assert echoed.json()["error"]["message"] == "You sent ***."
    assert token not in caplog.text
