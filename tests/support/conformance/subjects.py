"""What the suite is run against: for each kind an alias a scenario, and what is known of its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.support.azure import KEY as AZURE_KEY
from tests.support.conformance import words
from tests.support.conformance.anthropic_double import anthropic_double
from tests.support.conformance.gemini_double import gemini_double
from tests.support.conformance.official_double import Azure, Relay, in_thread
from tests.support.fake_upstream import FakeUpstream
from tests.support.http_double import HttpDouble

DEMO_MODEL = "gpt-4.1-mini-2025-04-14"


@dataclass
class Subject:
    """One kind.

    Args:
        kind: of `table.KINDS`.
        upstream: its block, the same for every scenario.
        models: scenario to the model id that plays it.
        prompts: what a scenario's last message has to say, where the model's name does not.
        text: of an answer; None = whatever it says, but the same in a stream.
        arguments: of the tool's call, likewise.
        counts: of an answer, under the names of the ledger; None = whatever it says, but there.
        left: whether the last call's caller was seen to leave; None = this cannot be seen from outside.
    """

    kind: str
    upstream: dict[str, Any]
    models: Mapping[str, str]
    prompts: Mapping[str, str] = field(default_factory=dict)
    text: str | None = words.TEXT
    arguments: dict[str, Any] | None = field(default_factory=lambda: dict(words.ARGUMENTS))
    counts: Mapping[str, int] | None = None
    left: Callable[[], bool] | None = None

    def alias(self, scenario: str) -> str:
        return f"{self.kind}-{scenario}"

    def upstreams(self) -> dict[str, Any]:
        """One a scenario, so that what one does to credentials and breakers hurts no other."""
        return {self.alias(scenario): self._block(model) for scenario, model in self.models.items()}

    def aliases(self) -> dict[str, Any]:
        return {
            self.alias(scenario): {"model": model, "upstreams": [self.alias(scenario)]}
            for scenario, model in self.models.items()
        }

    def body(self, scenario: str, **fields: Any) -> dict[str, Any]:
        prompt = self.prompts.get(scenario, "What do you see?")
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]
        return {"model": self.alias(scenario), "messages": messages, "temperature": 0} | fields

    def _block(self, model: str) -> dict[str, Any]:
        block = dict(self.upstream)
        if block["kind"] == "azure":
            block["deployments"] = {model: f"dep-{model.rpartition('-')[2]}"}
        elif "models" not in block and block["kind"] != "demo":
            block["models"] = [model]
        return block


def config_of(subjects: list[Subject]) -> dict[str, Any]:
    """A configuration with all of them."""
    config: dict[str, Any] = {"upstreams": {}, "aliases": {}}
    for subject in subjects:
        config["upstreams"] |= subject.upstreams()
        config["aliases"] |= subject.aliases()
    return config


def _counts(cache_write: int = 0, reasoning: int = 0) -> dict[str, int]:
    return {
        "prompt_tokens": words.PROMPT_TOKENS,
        "completion_tokens": words.COMPLETION_TOKENS,
        "cached_tokens": words.CACHED_TOKENS,
        "cache_write_tokens": cache_write,
        "reasoning_tokens": reasoning,
    }


def demo() -> Subject:
    """The simulated one; its words are its own."""
    prompts = {
        "answer": "Hello",
        "hangs": "Hello",  # 90 words at the pace of a model take more than two seconds
        "silent": "demo:slow 60 all",
        "busy": "demo:error 429 all",
        "denied": "demo:error 401 all",
        "unknown": "demo:error 404 all",
        "long": "demo:error 400 all",
        "broken": "demo:error 500 all",
        "cut": "demo:cut all",
    }
    models = dict.fromkeys(prompts, DEMO_MODEL)
    return Subject("demo", {"kind": "demo"}, models, prompts, text=None, arguments=None)


def openai(stack: ExitStack) -> Subject:
    relay = stack.enter_context(in_thread(Relay()))
    upstream = {"kind": "openai", "base_url": relay.url, "api_keys": [words.KEY]}
    return Subject("openai", upstream, _named("relay/m#"), counts=_counts(reasoning=4), left=_left_of(relay))


def azure(stack: ExitStack) -> Subject:
    double = stack.enter_context(in_thread(Azure()))
    upstream = {"kind": "azure", "base_url": double.url.removesuffix("/v1"), "api_keys": [AZURE_KEY]}
    return Subject("azure", upstream, _named("az"), counts=_counts(reasoning=4), left=_left_of(double))


def anthropic(stack: ExitStack) -> Subject:
    double = stack.enter_context(anthropic_double())
    upstream = {"kind": "litellm", "base_url": double.url, "api_keys": [words.KEY]}
    return Subject(
        "anthropic",
        upstream,
        _named("anthropic/claude"),
        counts=_counts(cache_write=words.CACHE_WRITE_TOKENS),
        left=_gone_from(double),
    )


def gemini(stack: ExitStack) -> Subject:
    double = stack.enter_context(gemini_double())
    upstream = {
        "kind": "litellm",
        "provider": "gemini",
        "base_url": f"{double.url}/v1beta",
        "api_keys": [words.KEY],
    }
    return Subject("gemini", upstream, _named("gemini"), counts=_counts(reasoning=4), left=_gone_from(double))


def adapter(base_url: str, choose: dict[str, Any]) -> Subject:
    """A real model server; `choose` is the field of the body that picks an adapter."""
    models = {"answer": "tiny", "hangs": "tiny", "long": "tiny"}
    prompts = {"long": "word " * 6000}
    upstream = {
        "kind": "openai",
        "base_url": base_url,
        "models": {"tiny": {"set": choose}},
    }
    return Subject("adapter", upstream, models, prompts, text=None, arguments=None)


def _named(stem: str) -> dict[str, str]:
    return {scenario: f"{stem}-{scenario}" for scenario in words.SCENARIOS}


def _left_of(upstream: FakeUpstream) -> Callable[[], bool]:
    def has_left() -> bool:
        return upstream.calls[-1].closed.is_set()

    return has_left


def _gone_from(double: HttpDouble) -> Callable[[], bool]:
    return lambda: double.last().gone_after_s is not None
