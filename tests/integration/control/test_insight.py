from collections.abc import Callable
from typing import Any

from tests.integration.control.running import RunningControl

FILE = """
upstreams:
  a: {base_url: "http://127.0.0.1:9/v1", owns: [acme], shutdown_dates: {"ft:*": 2999-01-01}}
  b: {base_url: "http://127.0.0.1:9/v1", models: [gpt-x, gpt-y]}
  c: {base_url: "http://127.0.0.1:9/v1", api_keys: [""]}
rewrites: {short: {drop: [top_p]}}
aliases:
  support:
    model: ft:gpt-4o-2024-08-06:acme::x
    upstreams: [a]
    fallbacks: [{model: gpt-x, upstreams: [b, c], rewrite: short}]
"""

LISTED = """
upstreams: {a: {base_url: "http://127.0.0.1:9/v1", models: [gpt-x]}}
aliases: {support: {model: gpt-x}}
"""


async def test_explain_tells_what_would_be_tried_and_what_not(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    found = await control.call("GET", "/explain?model=support")
    assert (found["object"], found["requested"], found["alias"], found["release"]) == (
        *("explain", "support", "support", "support@1/stable"),
    )
    assert [
        (each["n"], each["upstream"], each["rewrite"], each["shutdown_date"]) for each in found["attempts"]
    ] == [
        (1, "a", None, "2999-01-01"),
        (2, "b", "short", None),
    ]
    assert [(each["upstream"], each["reason"]) for each in found["left_out"]] == [("c", "disabled")]


async def test_explain_tells_what_each_costs(start_control: Callable[..., Any]) -> None:
    stated = "prices: {gpt-x: {input: 0.1, cached_input: 0.025, output: 0.3}}"
    control = await start_control(FILE.replace("models: [gpt-x,", f"{stated}, models: [gpt-x,"))
    found = await control.call("GET", "/explain?model=support")
    assert [each["price_usd_per_million"] for each in found["attempts"]] == [
        {"input": 3.75, "cached_input": 1.875, "output": 15.0},
        {"input": 0.1, "cached_input": 0.025, "output": 0.3},
    ]
    found = await control.call("GET", "/explain?model=gpt-y")
    assert found["attempts"][0]["price_usd_per_million"] is None, "unknown is never 0"
    payer = await control.call("POST", "/keys", {"name": "x", "budget": {"usd": 1, "period": "day"}})
    found = await control.call("GET", f"/explain?model=gpt-y&key={payer['id']}")
    assert ("b", "price_unknown") in {(each["upstream"], each["reason"]) for each in found["left_out"]}
    assert "b" not in {each["upstream"] for each in found["attempts"]}
    assert len((await control.call("GET", f"/explain?model=support&key={payer['id']}"))["attempts"]) == 2


ADAPTERS = """
upstreams:
  llama:
    base_url: "http://127.0.0.1:9/v1"
    models: {support-v3: {set: {lora: [{id: 0, scale: 1.0}]}}, sales-v1: {set: {lora: [{id: 1, scale: 1.0}]}}}
    prices: {support-v3: {input: 0.05, output: 0.10}}
aliases: {support: {model: support-v3}}
"""


async def test_an_adapter_chosen_by_a_field_is_an_id_like_any_other(
    start_control: Callable[..., Any],
) -> None:
    control = await start_control(ADAPTERS)
    [attempt] = (await control.call("GET", "/explain?model=support"))["attempts"]
    assert (attempt["upstream"], attempt["model"]) == ("llama", "support-v3")
    assert attempt["price_usd_per_million"] == {"input": 0.05, "cached_input": 0.05, "output": 0.1}
    [raw] = (await control.call("GET", "/explain?model=sales-v1"))["attempts"]
    assert raw["price_usd_per_million"] is None
    [llama] = (await control.call("GET", "/upstreams"))["data"]
    assert [model["id"] for model in llama["models"]] == ["support-v3", "sales-v1"]


async def test_explain_speaks_for_the_holder_of_a_key(start_control: Callable[..., Any]) -> None:
    control: RunningControl = await start_control(FILE)
    key = await control.call("POST", "/keys", {"name": "x", "aliases": ["support"]})
    found = await control.call("GET", f"/explain?model=support&key={key['id']}")
    assert len(found["attempts"]) == 2
    found = await control.call("GET", f"/explain?model=gpt-x&key={key['id']}")
    assert found["attempts"] == []
    assert {(each["upstream"], each["reason"]) for each in found["left_out"]} >= {("b", "not_allowed")}
    error = (await control.call("GET", "/explain?model=x&key=nobody", expect=404))["error"]
    assert error["param"] == "key"


async def test_explain_knows_no_such_model(start_control: Callable[..., Any]) -> None:
    control = await start_control(LISTED)
    error = (await control.call("GET", "/explain?model=suport", expect=404))["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "`support`" in error["message"]
    assert (await control.call("GET", "/explain", expect=400))["error"]["param"] == "model"
    assert (await control.call("GET", "/explain?model=", expect=400))["error"]["param"] == "model"


async def test_upstreams_are_listed_in_file_order_and_in_pages(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    found = await control.call("GET", "/upstreams")
    assert [each["name"] for each in found["data"]] == ["a", "b", "c"]
    assert found["data"][1] == {
        "object": "upstream",
        "name": "b",
        "kind": "openai",
        "base_url": "http://127.0.0.1:9/v1",
        "state": "ready",
        "credentials": [],
        "breaker": "closed",
        "in_flight": 0,
        "models": [
            {"id": "gpt-x", "shutdown_date": None, "state": "listed"},
            {"id": "gpt-y", "shutdown_date": None, "state": "listed"},
        ],
    }
    page = await control.call("GET", "/upstreams?limit=1&after=a")
    assert ([each["name"] for each in page["data"]], page["has_more"], page["next"]) == (["b"], True, "b")
