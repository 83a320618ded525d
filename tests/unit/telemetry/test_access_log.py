import asyncio
import json
import os
import re

import pytest

from gateway.telemetry.access_log import AccessLog, Own, Shared


@pytest.fixture
async def written():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    log = AccessLog(asyncio.get_running_loop(), writing)

    def write(own: Own, shared: Shared) -> dict:
        log.write(own, log.shared(shared))
        log.close()
        return json.loads(os.read(reading, 65536))

    yield write
    os.close(reading)
    os.close(writing)


async def test_a_line_has_its_time_and_only_the_fields_that_say_something(written):
    stamp = AccessLog(asyncio.get_running_loop()).stamp()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
    line = written(Own(stamp, "r1"), Shared("info", "POST", "/v1/chat/completions", 200))
    assert line == {
        "ts": stamp,
        "request_id": "r1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "level": "info",
        "event": "request",
    }


async def test_all_fields(written):
    given = {
        "level": "info",
        "request_id": "r1",
        "client_request_id": "theirs",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 499,
        "outcome": "client_left",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "route": "chat.completions",
        "key": "07abcdefghij",
        "requested": "support",
        "alias": "support",
        "release": "support@3/stable",
        "model": "ft:gpt-4.1-mini-2025-04-14:acme::x",
        "upstream": "openai",
        "upstream_request_id": "req_1",
        "stream": True,
        "attempts": 2,
        "tried": ["openai: timeout", "relay: client_left"],
        "fallback": "timeout",
        "error_type": "client_left",
        "prompt_tokens": 5,
        "cached_tokens": 1,
        "completion_tokens": 7,
        "reasoning_tokens": 3,
        "service_tier": "default",
        "cost_nanousd": 12,
        "upstream_ms": 3.5,
        "ttft_ms": 1.5,
        "overhead_ms": 0.25,
        "duration_ms": 20.0,
    }
    own = {name: value for name, value in given.items() if name in Own.__struct_fields__}
    shared = {name: value for name, value in given.items() if name not in own}
    line = written(Own(**own), Shared(**shared))
    assert {name: line[name] for name in given} == given


async def test_text_that_is_no_unicode_is_shown_not_raised(written):
    line = written(
        Own(request_id="r", client_request_id="\udfff"),
        Shared("info", "GET", "/v1/x", 404, requested='"\ud800\n{"'),
    )
    assert line["requested"] == '"\\ud800\n{"'
    assert (line["status"], line["event"], line["client_request_id"]) == (404, "request", "\\udfff")
    assert "alias" not in line


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError):
        Own(request_id="r", body="secret")
    with pytest.raises(TypeError):
        Shared("info", "GET", "/", 200, body="secret")
