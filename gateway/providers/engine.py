"""litellm, set up to do one call at a time and nothing else. The only file that imports it.

Importing it takes seconds; `surroundings.prepare` comes first.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import httpx
import litellm
from litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini import (
    ModelResponseIterator as GeminiIterator,
)

from gateway.providers import document
from gateway.providers.app import Answer
from gateway.providers.call import ProviderCall
from gateway.providers.fault import Fault
from gateway.providers.wire import keep_straight

_DISPATCH: Mapping[str, Any] = {
    "chat": litellm.acompletion,
    "completions": litellm.atext_completion,
    "embeddings": litellm.aembedding,
}


class LitellmEngine:
    """Asks providers by litellm."""

    def __init__(self) -> None:
        litellm.drop_params = False  # what a provider does not know is an error, not a surprise
        litellm.modify_params = False
        litellm.num_retries = 0
        litellm.suppress_debug_info = True
        litellm.turn_off_message_logging = True
        litellm.callbacks = []
        # Its aiohttp transport pools by its own rules and leaves sessions open; httpx closes with the stream.
        litellm.disable_aiohttp_transport = True
        keep_straight()

    async def answer(self, call: ProviderCall) -> Answer:
        """Ask the provider; see `gateway.providers.app.Engine`."""
        given = await _DISPATCH[call.route](**_arguments(call))
        request_id = _request_id(given)
        if call.streams:
            return Answer(chunks=_chunks(given, call.wants_usage), request_id=request_id)
        made = given.model_dump()
        if call.route == "embeddings":
            return Answer(document.embeddings(made, as_base64=call.wants_base64), request_id=request_id)
        return Answer(document.reply(made), request_id=request_id)


def _arguments(call: ProviderCall) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        **call.fields,
        **call.params,
        "model": call.model,
        "num_retries": 0,
        "max_retries": 0,
        "drop_params": False,
        # The worker bounds the wait for the answer and closes; only connecting is bounded here.
        "timeout": httpx.Timeout(None, connect=call.connect_s),
    }
    if call.api_key is not None:
        arguments["api_key"] = call.api_key
    if call.provider is not None:
        arguments["custom_llm_provider"] = call.provider
    if call.base_url is not None:
        arguments["api_base"] = call.base_url
    if call.headers:
        arguments["extra_headers"] = dict(call.headers)
    if call.route == "chat":
        # Else it imports its client of MCP servers as soon as there are tools. Ours are functions only.
        arguments["_skip_mcp_handler"] = True
    if call.streams:
        # Without the wish for it, litellm makes counts up for some routes.
        arguments |= {"stream": True, "stream_options": {"include_usage": True}}
    return arguments


async def _chunks(stream: Any, wants_usage: bool) -> AsyncGenerator[Mapping[str, Any], None]:
    """The stream's chunks in the official shape; closing this closes the provider's connection."""
    wrapper = stream if hasattr(stream, "aclose") else stream.completion_stream
    try:
        ending = await _ending_of(wrapper)
        async for each in stream:
            made = document.chunk(each.model_dump())
            if made is None or ("usage" in made and not wants_usage):
                continue
            if document.finishes(made) and not ending():
                raise Fault(
                    502, "The provider's stream broke off.", kind="server_error", code="stream_truncated"
                )
            yield made
    finally:
        await wrapper.aclose()


async def _ending_of(wrapper: Any) -> Callable[[], bool]:
    """A function that tells whether the provider itself has given a finish reason.

    litellm ends every stream with a "stop" of its own, those that broke off included.
    """
    if not hasattr(wrapper, "fetch_stream"):
        return lambda: True  # made of a whole answer, which had its end
    try:
        source = await wrapper.fetch_stream()
    except Exception as error:  # whatever a provider raises: litellm has a name for most, and raises that
        litellm.exception_type(
            model=wrapper.model, original_exception=error, custom_llm_provider=wrapper.custom_llm_provider
        )
        raise
    if isinstance(source, GeminiIterator):
        return _gemini_ending(source)
    return lambda: (
        wrapper.received_finish_reason is not None or wrapper.intermittent_finish_reason is not None
    )


def _gemini_ending(source: Any) -> Callable[[], bool]:
    """Gemini's pieces get a "stop" each from litellm, so what it sent itself is looked at."""
    parse, ended = source.chunk_parser, False

    def watched(chunk: dict[str, Any]) -> Any:
        nonlocal ended
        candidates = chunk.get("candidates") or ()
        blocked = (chunk.get("promptFeedback") or {}).get("blockReason")
        ended = ended or bool(blocked) or any(each.get("finishReason") for each in candidates)
        return parse(chunk)

    source.chunk_parser = watched
    return lambda: ended


def _request_id(given: Any) -> str | None:
    """The provider's own id of the call, where its headers had one."""
    hidden = getattr(given, "_hidden_params", None) or {}
    headers = hidden.get("additional_headers") or {}
    for name in ("llm_provider-x-request-id", "llm_provider-request-id", "llm_provider-x-amzn-requestid"):
        if value := headers.get(name):
            return str(value)
    return None
