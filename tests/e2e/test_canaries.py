"""Forty secrets are planted; no sink has one, nor eight characters of one.

Sinks: what all processes log and print, metrics, every answer of the admin API, what commands print, errors
and headers for clients, the gateway's folder and journals, the whole store, spans and metrics over OTLP. The
upstream gives away what it was sent, byte by byte, in every kind of answer. What a model writes is its
caller's, and nobody else's.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.config import load_file
from tests.e2e.echoing_upstream import ACTS, OF_STREAMS, echoing_upstream
from tests.e2e.gateway_process import TUNEGATE, GatewayProcess, wait_until
from tests.support.collector import Collector, running_collector
from tests.support.valkey import ValkeyServer

WINDOW = 8
ADMIN_GETS = (
    *(
        "keys",
        "aliases",
        "aliases/support/revisions",
        "upstreams",
        "usage?group_by=model",
        "usage/events",
        "config",
    ),
    *(
        "usage/export?format=jsonl",
        "usage/export?format=csv",
        "explain?model=support",
        "explain?model=nobody",
    ),
)


@dataclass
class Canaries:
    """Secrets by what they are for; each is made of random letters and digits."""

    planted: dict[str, str] = field(default_factory=dict)

    def new(self, name: str) -> str:
        self.planted[name] = secrets.token_urlsafe(40).replace("-", "x").replace("_", "y")
        return self.planted[name]

    def windows(self, *but: str) -> dict[str, str]:
        """Every window of every secret whose name begins with none of `but`."""
        return {
            secret[at : at + WINDOW]: name
            for name, secret in self.planted.items()
            if not name.startswith(but or ("\0",))
            for at in range(len(secret) - WINDOW + 1)
        }


def found_in(sink: bytes | str, windows: dict[str, str]) -> set[str]:
    """The names of the secrets of which the sink has a window."""
    text = sink.decode("latin-1") if isinstance(sink, bytes) else sink
    runs = re.findall(r"[A-Za-z0-9]{8,}", text)
    return {
        windows[run[at : at + WINDOW]]
        for run in runs
        for at in range(len(run) - WINDOW + 1)
        if run[at : at + WINDOW] in windows
    }


@dataclass
class Stage:
    gateway: GatewayProcess
    canaries: Canaries
    collector: Collector
    store: ValkeyServer
    told: list[tuple[str, bytes]]
    """What clients were told: every head, and every body that is an error's."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A gateway that has been through everything, and still runs."""
    canaries = Canaries()
    environment = {
        "TUNEGATE_SECRET": canaries.new("gateway secret"),
        **{f"KEY_{n}": canaries.new(f"upstream key {n}") for n in range(1, 5)},
        **{f"HEADER_{n}": canaries.new(f"upstream header {n}") for n in range(1, 3)},
        "OTLP_TOKEN": canaries.new("collector token"),
        "STORE_PASSWORD": canaries.new("store password"),
    }
    with (
        ValkeyServer("--appendonly", "yes", tcp=True, password=environment["STORE_PASSWORD"]) as store,
        running_collector() as collector,
        echoing_upstream(canaries.new("answer: words")) as echo,
    ):
        gateway = GatewayProcess(config_of(echo, collector.url, store.port))
        gateway.admin_key = canaries.new("admin key")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            # the helper takes TUNEGATE_* out of what it hands on, so it is put back there
            patch.setattr(
                "tests.e2e.gateway_process._environment",
                lambda: {**os.environ, "TUNEGATE_SECRET": environment["TUNEGATE_SECRET"]},
            )
            try:
                gateway.start()
                told = play(gateway, canaries, store)
                yield Stage(gateway, canaries, collector, store, told)
            finally:
                gateway.cleanup()


def config_of(echo: str, collector: str, store_port: int) -> dict[str, Any]:
    return {
        "server": {"drain_grace_s": 0, "drain_timeout_s": 5},
        "store": {
            "url": f"redis://:${{STORE_PASSWORD}}@127.0.0.1:{store_port}",
            "data_dir": "data",
            "settle_timeout_ms": 50,
        },
        "telemetry": {
            "otlp_url": collector,
            "otlp_headers": {"x-token": "${OTLP_TOKEN}"},
            "interval_s": 0.1,
        },
        # a pair of upstreams for each act: what goes wrong in one keeps no other from being tried
        "upstreams": {f"{act}-{n}": upstream_of(echo, act, n) for act in ACTS for n in (1, 2)},
        "aliases": {
            "support": {"model": "echo-whole"},
            **{act: {"model": f"echo-{act}", "upstreams": [f"{act}-1", f"{act}-2"]} for act in ACTS},
        },
    }


def upstream_of(echo: str, act: str, n: int) -> dict[str, Any]:
    return {
        "base_url": echo,
        "api_keys": [f"${{KEY_{n}}}", f"${{KEY_{n + 2}}}"],
        "headers": {"x-secret": f"${{HEADER_{n}}}"},
        "models": [f"echo-{act}"],
        "trace_context": n == 1,
    }


def body_of(model: str, canaries: Canaries, *, stream: bool) -> dict[str, Any]:
    def planted(name: str) -> str:
        return canaries.planted.get(f"body: {name}") or canaries.new(f"body: {name}")

    return {
        "model": model,
        "stream": stream,
        "messages": [
            {"role": "system", "content": planted("system")},
            {"role": "user", "content": planted("message"), "name": planted("name")},
        ],
        "user": planted("user"),
        "safety_identifier": planted("safety_identifier"),
        "prompt_cache_key": planted("prompt_cache_key"),
        "metadata": {"x": planted("metadata")},
        "stop": [planted("stop")],
        "tools": [{"type": "function", "function": {"name": "f", "description": planted("tool")}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": planted("schema")}},
        "a_field_nobody_knows": planted("unknown field"),
    }


def headers_of(canaries: Canaries, key: str) -> dict[str, str]:
    names = (
        *("cookie", "x-api-key", "proxy-authorization", "user-agent", "referer", "x-forwarded-for"),
        *(
            "openai-organization",
            "openai-project",
            "x-tunegate-session",
            "x-secret",
            "baggage",
            "tracestate-like",
        ),
    )
    return {"authorization": f"Bearer {key}", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"} | {
        name: canaries.planted.get(f"client header {name}") or canaries.new(f"client header {name}")
        for name in names
    }


def play(gateway: GatewayProcess, canaries: Canaries, store: ValkeyServer) -> list[tuple[str, bytes]]:
    """Every act of the upstream, with the store there and without it; bad keys; a journal on disk."""
    told: list[tuple[str, bytes]] = []
    keys = [gateway.new_key(name=f"k{n}") for n in range(3)]
    for n, key in enumerate(keys):
        canaries.planted[f"virtual key {n}"] = key.split("-")[2]
    wrong = f"tg-{keys[0].split('-')[1]}-{canaries.new('a wrong key')}"
    with httpx2.Client(base_url=gateway.data_url, timeout=20, trust_env=False) as http:

        def call(model: str, key: str, *, stream: bool) -> None:
            body, headers = body_of(model, canaries, stream=stream), headers_of(canaries, key)
            query = canaries.planted.get("query") or canaries.new("query")
            answer = http.post(f"/v1/chat/completions?secret={query}", json=body, headers=headers)
            if model == keys[1]:
                return  # what a caller sends as a name is told to it again; the log is another matter
            told.append((model, str(sorted(answer.headers.items())).encode()))
            if answer.status_code != 200:
                told.append((model, answer.content))
            elif b'"error"' in answer.content:  # of a stream: behind what the model wrote
                told.append((model, answer.content[answer.content.rindex(b'data: {"error"') :]))

        call("whole", keys[1], stream=False)
        for act in ACTS:
            if act not in OF_STREAMS:
                call(act, keys[0], stream=False)
            if act in ("400", "whole", *OF_STREAMS):
                call(act, keys[0], stream=True)
        call("whole", wrong, stream=False)
        call(keys[1], keys[0], stream=False)
        http.get(f"/v1/{keys[2]}", headers=headers_of(canaries, keys[0]))  # its path is told to it again
        bad = canaries.new("a wrong admin key")
        told.append(
            (
                "admin",
                httpx2.get(
                    f"{gateway.admin_url}/admin/v1/keys?q={bad}", headers={"authorization": f"Bearer {bad}"}
                ).content,
            )
        )
        store.pause()  # so that settlements go to the journal, and callers to the local limits
        try:
            for _ in range(3):
                call("whole", keys[1], stream=True)
                call("400", keys[1], stream=False)
            waiting = [
                path.read_bytes() for path in (gateway.data_dir / "journal").rglob("*") if path.is_file()
            ]
            assert any(b"echo-whole" in text for text in waiting)
            told += [("journal", text) for text in waiting]
        finally:
            store.resume()
    return told


def test_forty_were_planted_and_the_check_can_see(stage: Stage) -> None:
    assert len(stage.canaries.planted) >= 40
    windows = stage.canaries.windows()
    for name, secret in stage.canaries.planted.items():
        assert found_in(f'"{secret[5:13]}"'.encode(), windows) == {name}
    # what comes to nobody but the model's caller is there all the same: the upstream did get and give it
    assert len(stage.told) > 30


def test_clients_are_told_nothing(stage: Stage) -> None:
    """But their own prompt, where an upstream quotes it in a refusal that passes."""
    windows = stage.canaries.windows("body: ")
    assert {act for act, _ in stage.told} >= {*ACTS, "journal", "admin"}
    assert any(act == "400" and b"You sent ***" in said for act, said in stage.told)
    for act, said in stage.told:
        assert found_in(said, windows) == set(), (act, said)


def test_logs(stage: Stage) -> None:
    windows = stage.canaries.windows()
    stage.gateway.admin("POST", "/admin/v1/config/reload")
    assert found_in(stage.gateway.log_path.read_bytes(), windows) == set()
    assert found_in((stage.gateway.home / "stdout").read_bytes(), windows) == set()
    assert len(stage.gateway.logged("request")) > 20


def test_metrics(stage: Stage) -> None:
    text = httpx2.get(f"{stage.gateway.admin_url}/metrics").content
    assert b"tunegate_requests_total" in text
    assert found_in(text, stage.canaries.windows()) == set()


@pytest.mark.parametrize("path", ADMIN_GETS)
def test_the_admin_api(stage: Stage, path: str) -> None:
    answer = stage.gateway.ask_admin("GET", f"/admin/v1/{path}")
    assert answer.content
    assert found_in(answer.content + str(answer.headers).encode(), stage.canaries.windows()) == set()


def test_the_store(stage: Stage) -> None:
    """Every key and value, as the append-only file has them, once what was on disk has come there."""
    wait_until(
        lambda: "tunegate_journal_pending 0.0" in httpx2.get(f"{stage.gateway.admin_url}/metrics").text,
        "the journal's end",
        within_s=30,
    )
    kept = b"".join(path.read_bytes() for path in Path(stage.store.folder).rglob("*") if path.is_file())
    assert b"XADD" in kept or b"ledger" in kept
    assert found_in(kept, stage.canaries.windows()) == set()


def test_files(stage: Stage) -> None:
    """The runtime folder too; the configuration names variables only."""
    files = [path for path in stage.gateway.home.rglob("*") if path.is_file()]
    assert any(path.name == "active.yaml" for path in files)
    for path in files:
        assert found_in(path.read_bytes(), stage.canaries.windows()) == set(), path


def test_traces(stage: Stage) -> None:
    wait_until(lambda: len(stage.collector.spans) > 20 and stage.collector.metrics, "spans and metrics")
    for body in list(stage.collector.raw):
        assert found_in(body, stage.canaries.windows()) == set()


def test_settings_and_commands(stage: Stage) -> None:
    windows = stage.canaries.windows()
    settings = load_file(stage.gateway.path, os.environ)
    shown = [repr(settings), str(settings), repr(settings.store), repr(settings.upstreams["whole-1"])]
    for command in (["doctor"], ["check-config"]):
        done = subprocess.run(  # noqa: S603  # our own command
            [TUNEGATE, command[0], str(stage.gateway.path), *command[1:]],
            check=False,
            capture_output=True,
            text=True,
            timeout=40,
        )
        assert done.stdout
        shown += [done.stdout, done.stderr]
    for command in (["keys", "list", "--json"], ["upstreams", "list"], ["explain", "support"], ["usage"]):
        done = stage.gateway.cli(*command)
        assert done.returncode == 0
        shown += [done.stdout, done.stderr]
    for text in shown:
        assert found_in(text, windows) == set(), text


def test_the_answer_itself_is_whole(stage: Stage) -> None:
    """Nothing is hidden in what a model writes: it is the caller's."""
    key = stage.gateway.new_key()
    answer = httpx2.post(
        f"{stage.gateway.base_url}/chat/completions",
        json={"model": "whole", "messages": [{"role": "user", "content": "x"}]},
        headers={"authorization": f"Bearer {key}"},
    )
    assert stage.canaries.planted["answer: words"] in json.dumps(answer.json())
