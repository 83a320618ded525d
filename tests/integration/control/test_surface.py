"""What holds for every answer, whatever the route."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from gateway.control.not_available import ROUTES
from gateway.control.wrong_keys import MAX_TRIES
from tests.integration.control.running import FakeWorker, RunningControl
from tests.support.polling import until
from tests.support.valkey import ValkeyServer


def check(response: httpx2.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    policy = response.headers["content-security-policy"].split("; ")
    assert policy == ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"]
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert "x-powered-by" not in response.headers
    if status < 400:
        return {}
    error: dict[str, Any] = response.json()["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    return error


async def test_nobody_comes_in_without_the_admin_key(control: RunningControl) -> None:
    async with httpx2.AsyncClient(base_url=control.url, trust_env=False, verify=False) as stranger:
        for path in (
            "/admin/v1/keys",
            "/admin/v1/config",
            "/nowhere",
            "/v1/organization/costs",
            "/metrics/",
            "//metrics",
        ):
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic dGdhOg=="}):
                refused = await stranger.get(path, headers=headers)
                error = check(refused, 401)
                assert (error["code"], error["type"]) == ("invalid_api_key", "invalid_request_error")
                assert refused.headers["www-authenticate"] == "Bearer"
        check(await stranger.get("/healthz"), 200)
        check(await stranger.get("/metrics"), 200)
        check(await stranger.post("/metrics"), 405)


async def test_many_wrong_keys_of_one_address_are_looked_at_no_more(control: RunningControl) -> None:
    async with httpx2.AsyncClient(base_url=control.url, trust_env=False, verify=False) as guesser:
        for n in range(MAX_TRIES):
            wrong = {"authorization": f"Bearer wrong-{n}"}
            check(await guesser.get("/admin/v1/keys", headers=wrong), 401)
        refused = await control.http.get("/admin/v1/keys")  # the right one, of the same address
        error = check(refused, 429)
        assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert 0 < int(refused.headers["retry-after-ms"]) <= 60_000
        metrics = (await guesser.get("/metrics")).text
        assert 'tunegate_key_guesses_total{plane="control"} 1' in metrics
        check(await guesser.get("/healthz"), 200)
        check(await guesser.get("/admin/v1/keys"), 401)


async def test_metrics_can_be_closed(start_control: Callable[..., Any]) -> None:
    control = await start_control("admin: {metrics_auth: true}")
    async with httpx2.AsyncClient(base_url=control.url, trust_env=False, verify=False) as stranger:
        check(await stranger.get("/metrics"), 401)
        check(await stranger.get("/healthz"), 200)
    response = await control.http.get("/metrics")
    check(response, 200)
    assert response.headers["content-type"].startswith("text/plain; version=")


async def test_what_does_not_exist(control: RunningControl) -> None:
    error = check(await control.http.get("/admin/v1/nothing"), 404)
    assert error["message"] == "Invalid URL (GET /admin/v1/nothing)"
    response = await control.http.put("/admin/v1/keys")
    assert check(response, 405)["message"] == "Invalid URL (PUT /admin/v1/keys)"
    assert sorted(response.headers["allow"].split(", ")) == ["GET", "POST"]
    check(await control.http.get("/admin/v1/keys/"), 404)
    check(await control.http.get("/docs"), 404)
    check(await control.http.get("/openapi.json"), 404)


async def test_what_is_not_there_yet_says_so(control: RunningControl) -> None:
    for method, path in ROUTES:
        concrete = path.replace("{rest:path}", "/x").replace("{id}", "x").replace("{name:path}", "x")
        concrete = concrete.replace("{name}", "x")
        error = check(await control.http.request("POST" if method == "*" else method, concrete), 404)
        assert "not available in this version" in error["message"]
        assert error["code"] is None
    check(await control.http.get("/admin/v1/jobs"), 404)


async def test_a_bug_tells_nothing_but_its_request_id(
    control: RunningControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret inside")

    monkeypatch.setattr(control.plane.keeper, "_current", broken)
    with capture_logs() as log:
        response = await control.http.get("/admin/v1/upstreams")
    assert check(response, 500)["type"] == "server_error"
    assert "secret" not in response.text
    assert [(line["event"], line["path"], line["exc_info"]) for line in log] == [
        ("a request failed", "/admin/v1/upstreams", True)
    ]


async def test_while_the_store_is_away_it_is_said_so(
    start_control: Callable[..., Any], valkey: ValkeyServer
) -> None:
    with ValkeyServer() as own:
        control = await start_control(f'store: {{url: "{own.url}"}}\naliases: {{x: {{model: m}}}}', bare=True)
        own.kill()
        response = await control.http.get("/admin/v1/keys")
        assert check(response, 503)["code"] == "store_unavailable"
        assert response.headers["retry-after"] == "1"
        for path in ("/admin/v1/config", "/admin/v1/upstreams", "/healthz"):
            check(await control.http.get(path), 200)
        control.path.write_text(control.path.read_text().replace("model: m", "model: n"))
        done = await control.http.post("/admin/v1/config/reload")
        check(done, 200)
        own.start()
        async with FakeWorker(control) as worker:
            await until(lambda: worker.state["aliases"]["x"]["block"] == {"model": "n"}, "the new alias")
