"""Models that a field of the body chooses, through a gateway: ids like any other."""

from typing import Any

from tests.integration.dataplane.conftest import StartGateway
from tests.support.client import client_of
from tests.support.fake_upstream import FakeUpstream

UPSTREAM: dict[str, Any] = {
    "models": {
        "support-v3": {"set": {"lora": [{"id": 0, "scale": 1.0}]}},
        "sales-v1": {"set": {"lora": [{"id": 1, "scale": 1.0}]}},
    },
    "prices": {"support-v3": {"input": 1.0, "output": 2.0}},
}
ALIASES = {"support": {"model": "support-v3", "fallbacks": ["sales-v1"]}}


async def test_listed_chosen_and_priced(start_gateway: StartGateway, upstream: FakeUpstream) -> None:
    gateway = await start_gateway({"llama": {"base_url": upstream.url, **UPSTREAM}}, ALIASES)
    async with client_of(gateway.url, await gateway.new_key()) as client:
        listed = (await client.get("/v1/models")).json()["data"]
        assert {model["id"] for model in listed} == {"support", "support-v3", "sales-v1"}
        reply = await client.chat(lora=[{"id": 9}])
        assert upstream.calls[-1].json["lora"] == [{"id": 0, "scale": 1.0}], "no caller chooses another"
        assert reply.headers["x-tunegate-model"] == "support-v3"
        assert reply.headers["x-tunegate-cost-usd"] == "0.000011"
        raw = await client.chat("sales-v1")
        assert upstream.calls[-1].json["lora"] == [{"id": 1, "scale": 1.0}]
        assert "x-tunegate-cost-usd" not in raw.headers, "unknown is not free"


async def test_a_fallback_chooses_its_own(start_gateway: StartGateway, upstream: FakeUpstream) -> None:
    gateway = await start_gateway({"llama": {"base_url": upstream.url, **UPSTREAM}}, ALIASES)
    upstream.refuses("support-v3", 404, "model_not_found")
    async with client_of(gateway.url, await gateway.new_key()) as client:
        reply = await client.chat()
        assert (reply.headers["x-tunegate-model"], reply.headers["x-tunegate-fallback"]) == (
            *("sales-v1", "model_not_found"),
        )
        assert upstream.calls[-1].json["lora"] == [{"id": 1, "scale": 1.0}]
