import asyncio
import json
import os
import re

import pytest

from gateway.telemetry.access_log import AccessLine, AccessLog


@pytest.fixture
async def written():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    log = AccessLog(asyncio.get_running_loop(), writing)

    def write(line: AccessLine) -> dict:
        log.write(line)
        log.close()
        return json.loads(os.read(reading, 65536))

    yield write
    os.close(reading)
    os.close(writing)


async def test_a_line_has_its_time_and_only_the_fields_that_say_something(written):
    line = written(AccessLine(request_id="r1", method="POST", path="/v1/chat/completions", status=200))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("ts"))
    assert line == {
        "request_id": "r1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "level": "info",
        "event": "request",
    }


async def test_all_fields(written):
    given = {
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
    line = written(AccessLine(**given))
    assert {name: line[name] for name in given} == given


async def test_text_that_is_no_unicode_is_shown_not_raised(written):
    line = written(
        AccessLine(request_id="r", method="GET", path="/v1/x", status=404, requested='"\ud800\n{"')
    )
    assert line["requested"] == '"\\ud800\n{"'
    assert line["status"] == 404
    assert "alias" not in line


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError):
        AccessLine(request_id="r", method="GET", path="/", status=200, body="secret")
