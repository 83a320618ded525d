"""Which calls and which answers qualify."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from gateway.cache.rules import is_cacheable, is_whole
from gateway.domain.cache import CacheAsk, CachePolicy
from gateway.domain.call import CHAT, EMBEDDINGS, CallRoute
from gateway.domain.plan import Candidate, Rewrite, Target
from gateway.edge.request import parse_call

POLICY = CachePolicy(b"")
CANDIDATE = Candidate("openai", "gpt")
TARGET = Target("support", "support", "support@1/stable", (CANDIDATE,), cache=POLICY)


def qualifies(
    *, target: Target = TARGET, ask: CacheAsk | None = None, pinned: bool = False, **fields: Any
) -> bool:
    return _qualifies(CHAT, {"messages": [{"role": "user", "content": "hi"}], **fields}, target, ask, pinned)


def _qualifies(
    route: CallRoute, fields: dict[str, Any], target: Target, ask: CacheAsk | None, pinned: bool
) -> bool:
    call = parse_call(route, msgspec.json.encode({"model": "support", **fields}), 64)
    assert target.cache is not None
    return is_cacheable(call, target, target.cache, ask, pinned=pinned, cap=None)


class TestCalls:
    @pytest.mark.parametrize("temperature", [0, 0.0])
    def test_without_variety(self, temperature: float) -> None:
        assert qualifies(temperature=temperature)
        assert qualifies(temperature=temperature, n=3)

    @pytest.mark.parametrize("fields", [{}, {"temperature": 0.1}, {"temperature": None}, {"seed": 7}])
    def test_with_variety_only_where_that_is_configured(self, fields: dict[str, Any]) -> None:
        wide = Target("t", None, None, (CANDIDATE,), cache=CachePolicy(b"", nondeterministic=True))

        assert not qualifies(**fields)
        assert qualifies(target=wide, **fields)

    def test_what_the_alias_adds_counts(self) -> None:
        zero = Target("t", None, None, (CANDIDATE,), defaults=(("temperature", Raw(b"0.0")),), cache=POLICY)
        dropping = Candidate("openai", "gpt", rewrite=Rewrite("r", drop=("temperature",)))

        assert qualifies(target=zero)
        assert not qualifies(target=zero, temperature=1)
        assert not qualifies(target=Target("t", None, None, (dropping,), cache=POLICY), temperature=0)

    def test_embeddings_have_no_variety(self) -> None:
        assert _qualifies(EMBEDDINGS, {"input": "hi"}, TARGET, None, False)

    @pytest.mark.parametrize(
        "field", [{"store": True}, {"web_search_options": {}}, {"audio": {"voice": "alloy"}}]
    )
    def test_what_rests_on_more_than_the_body_does_not(self, field: dict[str, Any]) -> None:
        assert not qualifies(temperature=0, **field)
        nothing: dict[str, Any] = dict.fromkeys(field)
        assert qualifies(temperature=0, **nothing)

    def test_the_caller_has_a_say(self) -> None:
        assert not qualifies(temperature=0, ask=CacheAsk("no-store"))
        assert qualifies(temperature=0, ask=CacheAsk("no-cache"))
        assert qualifies(temperature=0, ask=CacheAsk("only", 3))
        assert not qualifies(temperature=0, pinned=True)


def answer(*reasons: str | None) -> dict[str, Any]:
    return {"choices": [{"index": i, "finish_reason": reason} for i, reason in enumerate(reasons)]}


class TestAnswers:
    @pytest.mark.parametrize("reason", ["stop", "tool_calls", "function_call"])
    def test_a_normal_end(self, reason: str) -> None:
        assert is_whole(answer(reason), 1)

    @pytest.mark.parametrize("reason", ["length", "content_filter", "error", "", None])
    def test_any_other(self, reason: str | None) -> None:
        assert not is_whole(answer(reason), 1)
        assert not is_whole(answer("stop", reason), 2)

    def test_all_that_were_asked_for(self) -> None:
        assert is_whole(answer("stop", "stop"), 2)
        assert not is_whole(answer("stop"), 2)

    def test_embeddings(self) -> None:
        assert is_whole({"object": "list", "data": [{"embedding": [0.1]}]}, 1)
        assert not is_whole({"object": "list", "data": []}, 1)

    @pytest.mark.parametrize(
        "document", [{}, {"choices": None}, {"choices": ["x"]}, {"error": {}, "data": [1]}]
    )
    def test_no_answer(self, document: dict[str, Any]) -> None:
        assert not is_whole(document, 1)
