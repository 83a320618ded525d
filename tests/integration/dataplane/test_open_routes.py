"""Default deny: without a key every route of the data plane is closed, but for a list of two."""

import json
from pathlib import Path

import httpx2

from gateway.auth.virtual_key import format_key
from gateway.edge.routes import EXACT, MODEL_PREFIX, NOT_BUILT, OPEN
from tests.support.gateway import RunningGateway

OPEN_ROUTES = {"/healthz", "/readyz"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
DESCRIBED = json.loads((Path(__file__).parents[3] / "docs/openapi/data.json").read_text())["paths"]
ODD = (
    *("/", "/v1", "/v1/", "/v2/models", "/nowhere", "/metrics", "/docs", "/openapi.json", "/admin/v1/keys"),
    *("//healthz", "/healthz/", "/healthz/x", "/HEALTHZ", "/readyz/", "/v1/healthz"),
    *("/healthz%00", "/healthz%2f", "/healthz;x", "/v1//models"),
)
STRANGERS = (None, "Bearer " + format_key("07abcdefghij", 40 * "a"), "Basic dGc6", "Bearer sk-x")


def every_path() -> list[str]:
    known = {*EXACT, *NOT_BUILT, *(f"{path}/x" for path in NOT_BUILT), f"{MODEL_PREFIX}x"}
    described = {path.replace("{", "").replace("}", "") for path in DESCRIBED}
    assert len(known) + len(described) > 20
    return sorted((known | described | {*ODD}) - OPEN_ROUTES)


async def test_without_a_key_all_but_two_routes_are_closed(gateway: RunningGateway) -> None:
    assert {*OPEN} == OPEN_ROUTES
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, verify=False) as http:
        for path in every_path():
            url = httpx2.URL(gateway.url).copy_with(raw_path=path.encode())
            for method in METHODS:
                answer = await http.request(method, url)
                assert answer.status_code == 401, (method, path, answer.text)
                if method != "HEAD":
                    assert answer.json()["error"]["code"] == "invalid_api_key", path
        for stranger in STRANGERS[1:]:
            answer = await http.get("/v1/models", headers={"authorization": str(stranger)})
            assert answer.status_code == 401
        for path in OPEN_ROUTES:
            assert (await http.get(path)).status_code == 200
            assert (await http.post(path)).status_code == 405


async def test_every_answer_says_what_it_is_and_not_who_made_it(gateway: RunningGateway) -> None:
    key = await gateway.new_key()
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, verify=False) as http:
        for path in ("/healthz", "/v1/models", "/nowhere"):
            for headers in ({}, {"authorization": f"Bearer {key}"}):
                answer = await http.get(path, headers=headers)
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["content-type"] == "application/json"
                assert "server" not in answer.headers
