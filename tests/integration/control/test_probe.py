"""A probe finds what is planted, all of it and nothing else, and says what it costs before it asks."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from gateway.control.probe import asking
from gateway.control.probe.probe import most_calls
from tests.integration.control.running import RunningControl
from tests.integration.control.test_cli import Run, run
from tests.support.azure import KEY, running_azure
from tests.support.quirky import LINES, OTHERS, SHAPES, QuirkyUpstream, running_quirky, settings_for

__all__ = ["run"]

Start = Callable[..., Any]


def file_for(upstream: QuirkyUpstream, more: str = "") -> str:
    return f"""
upstreams:
  quirky: {{base_url: "{upstream.url}", models: [m]{more}}}
"""


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two tries of the same call."""
    monkeypatch.setattr(asking, "LONGEST_WAIT_S", 0.001)


async def probed(start_control: Start, plants: set[str], more: str = "") -> dict[str, Any]:
    async with running_quirky(plants) as upstream:
        control: RunningControl = await start_control(file_for(upstream, more))
        found: dict[str, Any] = await control.call("POST", "/upstreams/quirky/probe", {})
        assert found["spent"]["calls"] == sum(call.method == "POST" for call in upstream.calls)
        return found


async def test_every_planted_quirk_is_found_and_nothing_else(start_control: Start) -> None:
    plants = {*LINES, *SHAPES} - {"no usage"}
    found = await probed(start_control, plants)
    assert found["settings"] == settings_for(plants)
    assert yaml.safe_load(found["yaml"]) == {"upstreams": {"quirky": settings_for(plants)}}
    assert len(found["findings"]) == len(LINES) >= 12
    assert found["unknown"] == []
    assert len(found["notes"]) == 4, "what needs no line is told all the same"


async def test_an_endpoint_without_quirks_has_none(start_control: Start) -> None:
    found = await probed(start_control, set())
    assert (found["settings"], found["yaml"], found["findings"]) == ({}, "", [])
    assert (found["unknown"], found["notes"]) == ([], [])


@pytest.mark.parametrize("plant", [plant for plant in [*LINES, *OTHERS] if settings_for({plant})])
async def test_one_quirk_is_one_line(start_control: Start, plant: str) -> None:
    found = await probed(start_control, {plant})
    assert found["settings"] == settings_for({plant})
    assert [finding["is_set"] for finding in found["findings"]] == [False]
    assert found["unknown"] == []


async def test_what_is_refused_without_the_oddity_too_is_no_quirk(start_control: Start) -> None:
    found = await probed(start_control, {"tools", "n"})
    assert found["settings"] == {"quirks": {"n": False}}
    assert {each["setting"] for each in found["unknown"]} == {
        *("quirks.null_content", "quirks.strict_tools", "quirks.refuses"),
    }
    assert all(each["why"].startswith("refused without it too: 400") for each in found["unknown"])


@pytest.mark.parametrize("shape", SHAPES)
async def test_what_is_put_right_anyway_needs_no_line(start_control: Start, shape: str) -> None:
    found = await probed(start_control, {shape})
    assert found["settings"] == {}
    assert found["notes"]


async def test_what_is_set_already_is_said(start_control: Start) -> None:
    found = await probed(start_control, {"n", "store"}, ", quirks: {n: false, refuses: [user]}")
    assert [(each["setting"], each["value"], each["is_set"]) for each in found["findings"]] == [
        ("quirks.n", False, True),
        ("quirks.refuses", "store", False),
    ]
    assert found["settings"] == {"quirks": {"n": False, "refuses": ["store"]}}


async def test_the_cost_is_told_before_any_call(start_control: Start) -> None:
    priced = ", prices: {m: {input: 1.0, output: 2.0}}"
    async with running_quirky({"n"}) as upstream:
        control = await start_control(file_for(upstream, priced))
        planned = await control.call("POST", "/upstreams/quirky/probe", {"dry_run": True})
        assert upstream.calls == []
        most = planned["estimate"]
        assert (most["calls"], planned["spent"]) == (len(most_calls()), None)
        nano = 1000 * most["prompt_tokens"] + 2000 * most["completion_tokens"]
        assert most["cost_nanousd"] == nano
        assert float(most["cost_usd"]) == nano / 1e9 < 0.02
        spent = (await control.call("POST", "/upstreams/quirky/probe"))["spent"]
        assert 0 < spent["cost_nanousd"] < most["cost_nanousd"]


async def test_an_unknown_price_is_said_to_be_unknown(start_control: Start) -> None:
    found = await probed(start_control, set())
    assert found["estimate"]["prompt_tokens"] > 0
    assert (found["estimate"]["cost_usd"], found["spent"]["cost_usd"]) == (None, None)


async def test_so_is_what_was_used_where_nobody_says(start_control: Start) -> None:
    found = await probed(start_control, {"no usage"}, ", prices: {m: {input: 1, output: 2}}")
    assert (found["spent"]["prompt_tokens"], found["spent"]["cost_usd"]) == (None, None)
    assert found["estimate"]["cost_usd"] is not None


class TestRefusals:
    async def test_names_and_kinds(self, start_control: Start) -> None:
        control = await start_control(
            """
upstreams:
  demo: {kind: demo, models: [a]}
  off: {base_url: "http://127.0.0.1:9/v1", api_keys: [""]}
  any: {base_url: "http://127.0.0.1:9/v1"}
  listed: {base_url: "http://127.0.0.1:9/v1", models: [a]}
"""
        )
        for name, body, status, words in (
            ("nobody", {}, 404, "No upstream has the name"),
            ("demo", {}, 400, "kind demo has no quirks"),
            ("off", {}, 400, "every entry of api_keys is empty"),
            ("any", {}, 400, "lists no model"),
            ("listed", {"model": "b"}, 400, "does not serve `b`"),
            ("listed", {"odd": 1}, 400, "Unknown field"),
            ("listed", {"model": "a"}, 502, "did not take a plain call"),
        ):
            answer = await control.call("POST", f"/upstreams/{name}/probe", body, expect=status)
            assert words in answer["error"]["message"]

    async def test_a_bad_credential_ends_it(self, start_control: Start) -> None:
        async with running_quirky(set()) as upstream:
            control = await start_control(file_for(upstream, ", api_keys: [sk-0123456789]"))
            upstream.refuses("m", 401, "invalid_api_key", "You sent sk-0123456789.")
            answer = await control.call("POST", "/upstreams/quirky/probe", {}, expect=502)
            assert answer["error"]["message"] == "The upstream refused the credential: 401 You sent ***."
            assert len(upstream.calls) == 1

    async def test_a_passing_trouble_is_no_quirk(self, start_control: Start) -> None:
        async with running_quirky(set()) as upstream:
            control = await start_control(file_for(upstream))
            for status in (500, 429):
                upstream.refuses("m", status)
            found = await control.call("POST", "/upstreams/quirky/probe", {})
            assert (found["settings"], found["unknown"]) == ({}, [])

    async def test_what_lasts_is_left_open(self, start_control: Start) -> None:
        async with running_quirky(set()) as upstream:
            control = await start_control(file_for(upstream))
            upstream.refuses("m", 503, times=3, message="busy")
            found = await control.call("POST", "/upstreams/quirky/probe", {})
            assert found["settings"] == {}
            assert found["unknown"] == [{"setting": "quirks.max_tokens", "why": "503 busy"}]


async def test_a_deployment_of_azure_is_asked_by_its_name(start_control: Start) -> None:
    async with running_azure({"dep": "gpt-4o"}) as azure:
        control = await start_control(
            f"""
upstreams:
  azure:
    kind: azure
    base_url: "{azure.url}"
    api_keys: [{KEY}]
    api_version: 2024-06-01
    deployments: {{m: dep}}
"""
        )
        found = await control.call("POST", "/upstreams/azure/probe", {})
        assert found["settings"] == {
            "stream_usage": False,
            "quirks": {
                "max_tokens": "max_tokens",
                "refuses": ["parallel_tool_calls", "store", "service_tier"],
            },
        }
        assert all("/deployments/dep/chat" in call.path for call in azure.calls)


class TestCommand:
    @pytest.fixture
    async def upstream(self) -> Any:
        async with running_quirky({"n", "flat errors"}) as upstream:
            yield upstream

    @pytest.fixture
    async def control(self, start_control: Start, upstream: QuirkyUpstream) -> RunningControl:
        return await start_control(file_for(upstream, ", prices: {m: {input: 1, output: 2}}"))  # type: ignore[no-any-return]  # the fixture is typed as any callable

    async def test_it_asks_before_it_spends(self, run: Run, upstream: QuirkyUpstream) -> None:
        refused = await run("upstreams", "probe", "quirky", text="n\n", expect=1)
        assert "This takes at most" in refused.stderr
        assert " USD" in refused.stderr
        assert upstream.calls == []

    async def test_it_prints_the_lines_to_set(self, run: Run) -> None:
        done = await run("upstreams", "probe", "quirky", text="y\n")
        assert yaml.safe_load(done.stdout) == {"upstreams": {"quirky": {"quirks": {"n": False}}}}
        assert "# it refuses n, even 1" in done.stdout
        assert "# Its errors have another shape: callers get the official one." in done.stdout
        assert "It took" in done.stderr

    async def test_as_json(self, run: Run) -> None:
        done = await run("upstreams", "probe", "quirky", "--model", "m", "--yes", "--json")
        assert json.loads(done.stdout)["settings"] == {"quirks": {"n": False}}
        assert (await run("upstreams", "probe", "other", "--yes", expect=1)).stderr.startswith(
            "Error: No upst"
        )
