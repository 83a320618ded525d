"""Every error of the data plane: status, `type`, `code`, all four keys, and the order of the checks."""

import time
from typing import Any

import pytest

from tests.integration.dataplane.conftest import FT, StartGateway
from tests.support.client import HI, Client, client_of
from tests.support.fake_upstream import FakeUpstream
from tests.support.gateway import RunningGateway

CHAT = "/v1/chat/completions"
INVALID = "invalid_request_error"


def told(reply: Any) -> tuple[int, str, str | None]:
    """Status, type and code of an error reply that has the official shape and an id."""
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"].startswith("req_")
    return reply.status_code, error["type"], error["code"]


class TestKeys:
    @pytest.mark.parametrize(
        "authorization",
        [
            None,
            "",
            "Bearer",
            "Basic abc",
            "Bearer sk-x",
            "Bearer tg-00aaaaaaaaaa-" + "x" * 40,
            "Bearer \x80",
        ],
    )
    async def test_no_or_bad_keys(self, gateway: RunningGateway, authorization: str | None) -> None:
        async with client_of(gateway.url, None) as client:
            given = {} if authorization is None else {"authorization": authorization.encode("latin-1")}
            reply = await client.http.post(gateway.url + CHAT, content=b"{", headers=given)  # type: ignore[arg-type]  # odd headers are the point

        assert told(reply) == (401, INVALID, "invalid_api_key")

    @pytest.mark.parametrize("fields", [{"revoked": True}, {"expires_at": int(time.time()) - 1}])
    async def test_revoked_and_expired_keys(self, gateway: RunningGateway, fields: dict[str, Any]) -> None:
        async with client_of(gateway.url, await gateway.new_key(**fields)) as client:
            assert told(await client.chat()) == (401, INVALID, "invalid_api_key")

    async def test_the_wrong_secret_of_a_right_id(self, gateway: RunningGateway, key: str) -> None:
        last = "x" if key[-1] != "x" else "y"
        async with client_of(gateway.url, key[:-1] + last) as client:
            assert told(await client.chat()) == (401, INVALID, "invalid_api_key")

    async def test_the_key_is_never_in_the_message(self, gateway: RunningGateway, key: str) -> None:
        async with client_of(gateway.url, key[:-1] + "~") as client:
            assert key.rpartition("-")[2][:8] not in (await client.chat()).text


class TestRoutes:
    @pytest.mark.parametrize(
        "path", ["/", "/v1", "/v1/nothing", "/v1/chat/completions/", "/metrics", "/admin/v1/keys", "/v2/x"]
    )
    async def test_unknown_routes(self, client: Client, path: str) -> None:
        reply = await client.post(path, {})

        assert told(reply) == (404, INVALID, None)
        assert reply.json()["error"]["message"] == f"Invalid URL (POST {path})"

    @pytest.mark.parametrize(
        ("method", "path", "allow"),
        [
            ("GET", CHAT, "POST"),
            ("DELETE", "/v1/models", "GET"),
            ("DELETE", f"/v1/models/{FT}", "GET"),
            ("PUT", "/healthz", "GET"),
        ],
    )
    async def test_wrong_methods(self, client: Client, method: str, path: str, allow: str) -> None:
        reply = await client.http.request(method, client.url + path, headers=client.headers)

        assert told(reply) == (405, INVALID, None)
        assert reply.headers["allow"] == allow

    @pytest.mark.parametrize(
        "path", ["/v1/files", "/v1/files/f-1/content", "/v1/uploads", "/v1/fine_tuning/jobs", "/v1/batches"]
    )
    async def test_training_is_closed_to_keys_without_it(
        self, client: Client, upstream: FakeUpstream, path: str
    ) -> None:
        assert told(await client.post(path, {})) == (403, INVALID, "route_not_allowed")
        assert upstream.calls == []

    @pytest.mark.parametrize(
        "path",
        [
            "/v1/responses",
            "/v1/responses/r/cancel",
            "/v1/moderations",
            "/v1/images/generations",
            "/v1/audio/speech",
            "/v1/feedback",
            "/v1/files",
        ],
    )
    async def test_what_this_version_does_not_have(self, gateway: RunningGateway, path: str) -> None:
        async with client_of(gateway.url, await gateway.new_key(training=True)) as client:
            reply = await client.post(path, {})

        assert told(reply) == (404, INVALID, None)
        assert "not available in this version" in reply.json()["error"]["message"]

    async def test_routes_of_a_key(self, gateway: RunningGateway) -> None:
        async with client_of(gateway.url, await gateway.new_key(routes=("embeddings",))) as client:
            assert told(await client.chat()) == (403, INVALID, "route_not_allowed")
            assert (await client.post("/v1/embeddings", {"model": "e", "input": "x"})).status_code == 200


class TestBodies:
    async def test_too_large(self, client: Client, upstream: FakeUpstream) -> None:
        reply = await client.post(CHAT, b'{"model":"' + b"x" * 11 * 1024 * 1024 + b'"}')

        assert told(reply) == (413, INVALID, "request_too_large")
        assert upstream.calls == []

    async def test_too_large_without_a_stated_length(
        self, start_gateway: StartGateway, upstream: FakeUpstream
    ) -> None:
        gateway = await start_gateway({"a": {"base_url": upstream.url}}, {}, server={"max_body_bytes": 1000})

        async def pieces() -> Any:
            for _ in range(10):
                yield b" " * 200

        async with client_of(gateway.url, await gateway.new_key()) as client:
            reply = await client.http.post(gateway.url + CHAT, content=pieces(), headers=client.headers)

        assert told(reply) == (413, INVALID, "request_too_large")

    async def test_compressed(self, client: Client) -> None:
        reply = await client.post(CHAT, b"\x1f\x8b", {"content-encoding": "gzip"})

        assert told(reply) == (415, INVALID, "unsupported_content_encoding")

    @pytest.mark.parametrize(
        ("raw", "param"),
        [
            (b"", None),
            (b"{", None),
            (b"[]", None),
            (b'{"messages":[{}]}', "model"),
            (b'{"model":"m","messages":3}', "messages"),
        ],
    )
    async def test_unreadable(
        self, client: Client, upstream: FakeUpstream, raw: bytes, param: str | None
    ) -> None:
        reply = await client.post(CHAT, raw)

        assert told(reply) == (400, INVALID, None)
        assert reply.json()["error"]["param"] == param
        assert upstream.calls == []
        assert (await client.chat()).status_code == 200


class TestModels:
    async def test_unknown(self, client: Client) -> None:
        reply = await client.chat(model="ft:gpt-4o:nobody::x")

        assert told(reply) == (404, INVALID, "model_not_found")
        assert reply.json()["error"]["param"] == "model"

    async def test_not_allowed(self, gateway: RunningGateway) -> None:
        async with client_of(gateway.url, await gateway.new_key(aliases=("other",))) as client:
            assert told(await client.chat()) == (403, INVALID, "model_not_allowed")

    async def test_pins_need_leave(self, client: Client) -> None:
        reply = await client.chat(headers={"x-tunegate-upstream": "relay"})

        assert told(reply) == (403, INVALID, "upstream_not_allowed")

    async def test_a_pin_that_names_nobody(self, gateway: RunningGateway) -> None:
        async with client_of(gateway.url, await gateway.new_key(may_pin=True)) as client:
            assert told(await client.chat(headers={"x-tunegate-upstream": "x"})) == (
                403,
                INVALID,
                "upstream_not_allowed",
            )

    async def test_a_pinned_call_goes_there(self, gateway: RunningGateway, relay: FakeUpstream) -> None:
        async with client_of(gateway.url, await gateway.new_key(may_pin=True)) as client:
            reply = await client.chat(headers={"x-tunegate-upstream": "relay"})

        assert reply.headers["x-tunegate-upstream"] == "relay"
        assert reply.headers["x-tunegate-fallback"] == "pinned_elsewhere"
        assert len(relay.calls) == 1

    async def test_nobody_left_to_serve(self, start_gateway: StartGateway, upstream: FakeUpstream) -> None:
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url, "api_keys": [""], "owns": ["acme"]}}, {"support": {"model": FT}}
        )
        async with client_of(gateway.url, await gateway.new_key()) as client:
            reply = await client.chat()

        assert told(reply) == (503, "server_error", "no_upstream")
        assert int(reply.headers["retry-after"]) >= 1


class TestOrder:
    """A request with several faults is told the first of them."""

    async def test_the_key_comes_before_the_route(self, gateway: RunningGateway) -> None:
        async with client_of(gateway.url, None) as client:
            assert (await client.post("/nothing", {})).status_code == 401

    async def test_the_route_comes_before_the_body(self, client: Client) -> None:
        assert (await client.post("/v1/fine_tuning/jobs", b"{" * 20_000_000)).status_code == 403

    async def test_the_size_comes_before_the_encoding(self, client: Client) -> None:
        reply = await client.post(CHAT, b" " * 11 * 1024 * 1024, {"content-encoding": "gzip"})

        assert reply.status_code == 413

    async def test_the_encoding_comes_before_the_content(self, client: Client) -> None:
        assert (await client.post(CHAT, b"{", {"content-encoding": "br"})).status_code == 415

    async def test_the_content_comes_before_the_model(self, client: Client) -> None:
        assert (await client.post(CHAT, {"model": "nobody", "messages": 3})).status_code == 400

    async def test_the_model_comes_before_the_pin(self, client: Client) -> None:
        reply = await client.chat(model="ft:x:nobody::y", headers={"x-tunegate-upstream": "x"})

        assert reply.status_code == 404

    async def test_draining_comes_last(self, client: Client, gateway: RunningGateway) -> None:
        gateway.worker.service.is_refusing = True

        assert (await client.chat(headers={"x-tunegate-upstream": "x"})).status_code == 403
        draining = await client.chat()
        assert told(draining) == (503, "server_error", "gateway_draining")
        assert int(draining.headers["retry-after"]) >= 1


class TestHealth:
    async def test_open_to_everyone(self, gateway: RunningGateway) -> None:
        async with client_of(gateway.url, None) as client:
            health, ready = await client.get("/healthz"), await client.get("/readyz")

        assert (health.status_code, health.json()) == (200, {"status": "ok"})
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})

    async def test_a_drain_is_seen(self, gateway: RunningGateway) -> None:
        gateway.worker.readiness.is_draining = True
        async with client_of(gateway.url, None) as client:
            assert (await client.get("/readyz")).status_code == 503


async def test_messages_is_all_it_takes(client: Client) -> None:
    assert (await client.post(CHAT, {"model": "support", "messages": HI})).status_code == 200
