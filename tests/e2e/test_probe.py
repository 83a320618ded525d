"""The lines that the command prints, all and each of them, let an endpoint with quirks through the suite."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import yaml

from tests.e2e.gateway_process import GatewayProcess, config_text, running_gateway
from tests.support.conformance import words
from tests.support.conformance.checks import RUN, Bench
from tests.support.conformance.official_double import Relay, in_thread, script
from tests.support.conformance.subjects import Subject, config_of
from tests.support.fake_upstream import ReceivedCall, _Script
from tests.support.quirky import LINES, odd_in, settings_for

PLANTS = set(LINES)
SERVER = {"workers": 1, "drain_grace_s": 0}


class QuirkyRelay(Relay):
    """The relay of the suite, with everything planted in front."""

    def _script_for(self, call: ReceivedCall) -> _Script:
        if call.method == "GET":
            return _refusal(404, "Not Found")
        body = call.json
        if body["model"].startswith("tunegate-probe"):
            return _refusal(404, "No such model.")
        if (odd := odd_in(body, PLANTS)) is not None:
            return _refusal(400, f"{odd} is not supported")
        # It takes no wish for the usage of a stream, and states it always.
        return script(words.scenario_of(body["model"]), {**body, "stream_options": {"include_usage": True}})


def _refusal(status: int, message: str) -> _Script:
    return _Script(status, {"content-type": "application/json"}, (json.dumps({"detail": message}).encode(),))


class Demanding(Subject):
    """Its calls are odd in every way that the endpoint refuses."""

    def body(self, scenario: str, **fields: Any) -> dict[str, Any]:
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        text = [{"type": "text", "text": "What do you see?"}]
        messages: list[dict[str, Any]] = [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": text},
            {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "1"},
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Go on."},
        ]
        asked = {
            "model": self.alias(scenario),
            "messages": messages,
            "n": 1,
            "temperature": 0,
            "top_p": 1,
            "max_completion_tokens": 40,
            "store": False,
            "parallel_tool_calls": False,
        } | fields
        tools: list[dict[str, Any]] = fields.get("tools", [])
        for tool in tools:
            tool["function"]["strict"] = True
        return copy.deepcopy(asked)


def subject_for(relay: Relay, settings: dict[str, Any]) -> Demanding:
    block = {"kind": "openai", "base_url": relay.url, "api_keys": [words.KEY], **settings}
    models = {scenario: f"quirky-{scenario}" for scenario in words.SCENARIOS}
    return Demanding("openai", block, models)


def without(settings: dict[str, Any], plant: str) -> dict[str, Any]:
    """The settings but for the line of one plant."""
    left = copy.deepcopy(settings)
    for name, value in LINES[plant].items():
        if name != "quirks":
            del left[name]
            continue
        for quirk, wanted in value.items():
            if isinstance(wanted, list):
                left[name][quirk] = [each for each in left[name][quirk] if each not in wanted]
            else:
                del left[name][quirk]
    return left


Stage = tuple[GatewayProcess, Relay, dict[str, Any]]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A gateway, the endpoint, and the settings that the command printed for it."""
    with ExitStack() as stack:
        relay = stack.enter_context(in_thread(QuirkyRelay()))
        assert isinstance(relay, Relay)
        block = {"base_url": relay.url, "api_keys": [words.KEY], "models": ["quirky-answer"]}
        gateway = stack.enter_context(running_gateway({"server": SERVER, "upstreams": {"quirky": block}}))
        printed = gateway.cli("upstreams", "probe", "quirky", "--yes")
        assert printed.returncode == 0, printed.stderr
        settings = yaml.safe_load(printed.stdout)["upstreams"]["quirky"]
        yield gateway, relay, settings
        assert gateway.stop() == 0
        assert gateway.logged("a request failed") == []


def reload(gateway: GatewayProcess, *subjects: Subject) -> None:
    gateway.path.write_text(config_text({"server": SERVER, **config_of(list(subjects))}))
    gateway.admin("POST", "/admin/v1/config/reload")


def test_every_planted_quirk_is_in_the_printed_lines(stage: Stage) -> None:
    assert len(PLANTS) >= 12
    assert stage[2] == settings_for(PLANTS)


def test_with_these_lines_it_conforms(stage: Stage) -> None:
    gateway, relay, settings = stage
    subject = subject_for(relay, settings)
    reload(gateway, subject)
    bench = Bench(gateway)
    for check in RUN.values():
        check(subject, bench)
    bench.http.close()


def test_without_any_of_them_it_does_not(stage: Stage) -> None:
    gateway, relay, settings = stage
    plants = sorted(PLANTS - {"no list of models"})  # nothing asks for the list of what is written down
    subjects = []
    for number, plant in enumerate(plants):
        subject = subject_for(relay, without(settings, plant))
        subject.kind = f"without-{number}"
        subject.models = {"answer": "quirky-answer"}
        subjects.append(subject)
    reload(gateway, *subjects)
    bench = Bench(gateway)
    for subject, plant in zip(subjects, plants, strict=True):
        fields: dict[str, Any] = {"stream": plant == "stream_options"}
        if plant == "strict_tools":
            fields["tools"] = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
        response = bench.ask(subject.body("answer", **fields))
        assert response.status_code == 400, plant
        assert response.json()["error"]["message"] == f"{plant} is not supported"
    bench.http.close()
