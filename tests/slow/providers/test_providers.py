"""The provider process with the real litellm: alone, killed under load, at the end of a chain of homes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx2
import pytest

from gateway.config.providers import providers_python
from gateway.routing.health import BREAKER
from tests.e2e.gateway_process import GatewayProcess, running_gateway, wait_until
from tests.support.azure import KEY as AZURE_KEY
from tests.support.azure import AzureDouble
from tests.support.conformance import words
from tests.support.conformance.anthropic_double import anthropic_double
from tests.support.conformance.gemini_double import VECTOR, gemini_double
from tests.support.conformance.official_double import Relay, in_thread
from tests.support.fake_upstream import FakeUpstream
from tests.support.http_double import Exchange, HttpDouble

ROOT = Path(__file__).parents[3]
PYTHON = providers_python(os.environ)
pytestmark = [
    pytest.mark.skipif(PYTHON is None, reason="no .venv-providers here: `python3 dev.py providers` makes it"),
]
CALLERS = 6
PAUSE_S = 0.01
BACK_WITHIN_S = 10.0
BASE = "gpt-4.1-mini-2025-04-14"

# Put on the path of the gateway's own processes: at a signal a process writes down which modules it has.
TELLTALE = """
import os, signal, sys
def tell(*_):
    path = os.path.join({folder!r}, "modules-%d" % os.getpid())
    with open(path + ".new", "w") as file:
        file.write("\\n".join(sorted(sys.modules)))
    os.rename(path + ".new", path)
signal.signal(signal.SIGRTMIN, tell)
"""


def claude(url: str, **fields: Any) -> dict[str, Any]:
    return {
        "kind": "litellm",
        "base_url": url,
        "api_keys": [words.KEY],
        "models": ["anthropic/*"],
        **fields,
    }


def body(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}


@contextmanager
def client_of(gateway: GatewayProcess) -> Iterator[httpx2.Client]:
    headers = {"authorization": f"Bearer {gateway.new_key()}"}
    with httpx2.Client(base_url=gateway.base_url, headers=headers, timeout=30, trust_env=False) as client:
        yield client


def test_importing_it_asks_nobody_and_reads_no_stray_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ANTHROPIC_API_KEY=stray\n")
    script = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
seen = []
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        seen.append(event)
    if event == "open" and str(arguments[0]).endswith(".env"):
        seen.append(str(arguments[0]))
sys.addaudithook(hook)
from gateway.providers.surroundings import prepare
prepare(os.environ)
from gateway.providers import engine
engine.LitellmEngine()
assert "ANTHROPIC_API_KEY" not in os.environ
sys.stderr.write(repr(seen))
"""
    environment = {name: value for name, value in os.environ.items() if name != "ANTHROPIC_API_KEY"}
    done = subprocess.run(  # noqa: S603 - our own script
        [str(PYTHON), "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "[]", "")


def test_nothing_of_it_runs_at_every_start_of_its_interpreter() -> None:
    folder = Path(str(PYTHON)).parents[1]
    assert list(folder.glob("lib/python*/site-packages/litellm")) != []
    assert list(folder.glob("lib/python*/site-packages/*litellm*.pth")) == []


def test_a_worker_holds_no_litellm_while_it_serves_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(TELLTALE.format(folder=str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with anthropic_double() as double:
        config = {"upstreams": {"claude": claude(double.url)}}
        with running_gateway(config) as gateway, client_of(gateway) as client:
            for stream in (False, True):
                reply = client.post("chat/completions", json=body("anthropic/claude-answer", stream=stream))
                assert reply.status_code == 200, reply.text
            with client.stream(
                "POST", "chat/completions", json=body("anthropic/claude-hangs", stream=True)
            ) as reply:
                assert b"Four" in next(reply.iter_bytes())
                for child in ("worker-0", "control"):
                    pid = gateway.pid(child)
                    told = tmp_path / f"modules-{pid}"
                    os.kill(pid, signal.SIGRTMIN)
                    wait_until(told.exists, "the modules")
                    modules = {name.partition(".")[0] for name in told.read_text().split()}
                    assert "gateway" in modules
                    assert not modules & {"litellm", "openai", "boto3", "tiktoken"}
                    assert ".venv-providers" not in Path(f"/proc/{pid}/maps").read_text()
            maps = Path(f"/proc/{gateway.pid('providers')}/maps").read_text()
            assert ".venv-providers" in maps
            for pid in gateway.alive():
                assert words.KEY.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
            assert words.KEY not in gateway.log_path.read_text()
            worker_mb, its_mb = (resident_mb(gateway.pid(child)) for child in ("worker-0", "providers"))
            print(f"provider process {its_mb} MB, worker {worker_mb} MB")  # noqa: T201 - for docs/upstreams.md
            assert worker_mb < its_mb
            assert gateway.stop() == 0


def resident_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


class Load:
    """Callers in threads, and what each of their calls came to."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._key = gateway.new_key()
        self._gateway = gateway
        self._over = threading.Event()
        self.outcomes: list[tuple[float, str, int, str]] = []
        self._threads = [threading.Thread(target=self._run, args=(model,)) for model in ("chain", "own")]
        self._threads += [
            threading.Thread(target=self._run, args=("chain", True)) for _ in range(CALLERS - 2)
        ]

    def _run(self, model: str, stream: bool = False) -> None:
        headers = {"authorization": f"Bearer {self._key}"}
        with httpx2.Client(
            base_url=self._gateway.base_url, headers=headers, timeout=30, trust_env=False
        ) as client:
            while not self._over.is_set():
                reply = client.post("chat/completions", json=body(model, stream=stream))
                upstream = reply.headers.get("x-tunegate-upstream", "")
                ok = reply.status_code if not stream or "[DONE]" in reply.text else -1
                self.outcomes.append((time.monotonic(), model, ok, upstream))
                self._over.wait(PAUSE_S)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def since(self, moment: float, model: str, upstream: str) -> list[tuple[float, str, int, str]]:
        return [
            each for each in self.outcomes if each[0] > moment and (each[1], each[3]) == (model, upstream)
        ]


def test_a_killed_provider_process_costs_its_own_calls_only() -> None:
    with ExitStack() as stack:
        double = stack.enter_context(anthropic_double())
        relay = stack.enter_context(in_thread(Relay()))
        own = {"base_url": relay.url, "api_keys": [words.KEY], "models": ["relay-answer"]}
        config = {
            "server": {"drain_grace_s": 0},
            "upstreams": {"claude": claude(double.url), "relay": own},
            "aliases": {
                "chain": {
                    "model": "anthropic/claude-answer",
                    "upstreams": ["claude"],
                    "fallbacks": ["relay-answer"],
                },
                "own": {"model": "relay-answer", "upstreams": ["relay"]},
            },
            "limits": {"default": {"rpm": None, "tpm": None, "concurrency": None}},
        }
        gateway = stack.enter_context(running_gateway(config))
        load = stack.enter_context(Load(gateway))
        wait_until(lambda: len(load.since(0, "chain", "claude")) > 20, "calls by litellm")
        pid, killed_at = gateway.pid("providers"), time.monotonic()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: load.since(killed_at, "chain", "relay"), "a fallback")
        wait_until(lambda: gateway.starts_of("providers") == 2, "its restart", within_s=BACK_WITHIN_S)
        restarted_s = time.monotonic() - killed_at
        wait_until(
            lambda: load.since(killed_at + restarted_s, "chain", "claude"),
            "calls by litellm again",
            within_s=BREAKER.rest_s + 2,  # a probe of the breaker, which may have opened a moment before
        )
        back_s = time.monotonic() - killed_at
        load.stop()
        counted = Counter((model, status, upstream) for _, model, status, upstream in load.outcomes)
        said = f"restarted after {restarted_s:.1f} s, served again after {back_s:.1f} s: {dict(counted)}"
        print(said)  # noqa: T201 - a figure to look at
        assert {model for model, status, _ in counted if status != 200} <= {"chain"}
        assert {upstream for model, _, upstream in counted if model == "own"} == {"relay"}
        # What had its first words out when the process died can only break; the rest fell back.
        broken = sum(count for (_, status, _), count in counted.items() if status != 200)
        assert broken <= CALLERS
        assert gateway.stop() == 0


class Home(NamedTuple):
    """One home of a chain: an upstream, and the price of its model."""

    upstream: str
    price: float


HOMES = (Home("official", 4.0), Home("azure", 3.0), Home("own", 2.0), Home("claude", 1.0))
CASES = [(fall, stream) for fall in range(len(HOMES)) for stream in (False, True)]


def homes_of(case: int) -> list[str]:
    """The model ids of one case's chain: what one case says is missing is set aside, and no other's."""
    return [
        f"ft:{BASE}:acme:support:AbC{case}",
        f"support-az-{case}",
        f"support-v{case}",
        "anthropic/claude-answer",
    ]


@pytest.fixture(scope="module")
def chain() -> Iterator[tuple[GatewayProcess, dict[str, Any]]]:
    """A gateway whose aliases have four homes each, and what stands there."""
    cases = range(len(CASES))
    with ExitStack() as stack:
        official = stack.enter_context(in_thread(FakeUpstream()))
        azure = stack.enter_context(in_thread(AzureDouble({f"dep-{case}": BASE for case in cases})))
        own = stack.enter_context(in_thread(FakeUpstream()))
        double = stack.enter_context(anthropic_double())
        choose = {"set": {"lora": [{"id": 0, "scale": 1.0}]}}
        config = {
            "upstreams": {
                "official": {"base_url": official.url, "api_keys": ["sk-official"], "owns": ["acme"]},
                "azure": {
                    "kind": "azure",
                    "base_url": azure.url.removesuffix("/v1"),
                    "api_keys": [AZURE_KEY],
                    "deployments": {homes_of(case)[1]: f"dep-{case}" for case in cases},
                },
                "own": {"base_url": own.url, "models": {homes_of(case)[2]: choose for case in cases}},
                "claude": claude(double.url),
            },
            "aliases": {
                f"support-{case}": {
                    "model": homes_of(case)[0],
                    "upstreams": ["official"],
                    "fallbacks": [
                        {"model": model, "upstreams": [home.upstream], "rewrite": home.upstream}
                        for model, home in zip(homes_of(case)[1:], HOMES[1:], strict=True)
                    ],
                }
                for case in cases
            },
            "rewrites": {
                "azure": {"set": {"user": "by-azure"}},
                "own": {"drop": ["user"], "rename": {"max_tokens": "n_predict"}},
                "claude": {"drop": ["user", "seed"], "system_prompt": "You are the support desk."},
            },
            "prices": {
                model: {"input": home.price, "output": home.price}
                for case in cases
                for model, home in zip(homes_of(case), HOMES, strict=True)
            },
        }
        gateway = stack.enter_context(running_gateway(config))
        yield gateway, {"official": official, "azure": azure, "own": own, "claude": double}
        assert gateway.stop() == 0


@pytest.mark.parametrize("case", range(len(CASES)))
def test_an_alias_falls_along_its_homes(chain: tuple[GatewayProcess, dict[str, Any]], case: int) -> None:
    gateway, doubles = chain
    (fall, stream), models = CASES[case], homes_of(case)
    if fall > 0:
        doubles["official"].refuses(models[0], 404, "model_not_found")
    if fall > 1:
        error = {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}
        doubles["azure"].answers(f"dep-{case}", {"error": error}, 404)
    if fall > 2:
        doubles["own"].refuses(models[2], 404, "model_not_found")
    home, model = HOMES[fall], models[fall]
    with client_of(gateway) as client:
        asked = body(f"support-{case}", stream=stream, max_tokens=50, seed=7, user="caller")
        reply = client.post("chat/completions", json=asked)
    assert reply.status_code == 200, reply.text
    headers = reply.headers
    assert (headers["x-tunegate-model"], headers["x-tunegate-upstream"]) == (model, home.upstream)
    assert headers["x-tunegate-fallback"] == ("none" if fall == 0 else "model_not_found")
    assert headers["x-tunegate-attempts"] == str(fall + 1)
    record = record_of(gateway, headers["x-request-id"])
    assert (record["model"], record["upstream"], record["state"]) == (model, home.upstream, "exact")
    tried = [(each["upstream"], each["model"], each["outcome"]) for each in record["attempts"]]
    assert tried[:-1] == [(HOMES[n].upstream, models[n], "model_not_found") for n in range(fall)]
    assert tried[-1][:2] == (home.upstream, model)
    tokens = record["prompt_tokens"] + record["completion_tokens"]
    assert record["cost_nanousd"] == round(tokens * home.price * 1000)
    seen = doubles["claude"].seen if fall == 3 else doubles[home.upstream].calls
    SENT[home.upstream](json.loads(seen[-1].body), case)


def record_of(gateway: GatewayProcess, request_id: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def look() -> bool:
        events = gateway.admin("GET", "/admin/v1/usage/events?limit=1000")["data"]
        found[:] = [each for each in events if each["request_id"] == request_id]
        return bool(found)

    wait_until(look, "the ledger's record")
    return found[0]


def _sent_to_official(sent: dict[str, Any], case: int) -> None:
    assert (sent["model"], sent["user"], sent["max_tokens"]) == (homes_of(case)[0], "caller", 50)


def _sent_to_azure(sent: dict[str, Any], case: int) -> None:
    assert (sent["model"], sent["user"], sent["max_tokens"]) == (f"dep-{case}", "by-azure", 50)


def _sent_to_own(sent: dict[str, Any], case: int) -> None:
    assert (sent["model"], sent["n_predict"]) == (homes_of(case)[2], 50)
    assert sent["lora"] == [{"id": 0, "scale": 1.0}]
    assert not {"user", "max_tokens"} & set(sent)


def _sent_to_claude(sent: dict[str, Any], _case: int) -> None:
    assert (sent["model"], sent["max_tokens"]) == ("claude-answer", 50)
    assert "You are the support desk." in json.dumps(sent["system"])
    assert not {"seed", "user", "metadata"} & set(sent)


SENT = {
    "official": _sent_to_official,
    "azure": _sent_to_azure,
    "own": _sent_to_own,
    "claude": _sent_to_claude,
}


def test_completions_go_through_too() -> None:
    with (
        anthropic_double() as double,
        running_gateway({"upstreams": {"claude": claude(double.url)}}) as gateway,
    ):
        with client_of(gateway) as client:
            asked = {"model": "anthropic/claude-answer", "prompt": "Once"}
            reply = client.post("completions", json=asked).json()
            assert reply["choices"][0]["text"] == words.TEXT
            assert reply["usage"]["total_tokens"] == words.PROMPT_TOKENS + words.COMPLETION_TOKENS
            stream = client.post("completions", json={**asked, "stream": True}).text
        events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
        assert "".join(each["choices"][0]["text"] for each in events if each["choices"]) == words.TEXT
        assert stream.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("how", ["moved", "dropped", "refused"])
def test_a_call_goes_out_once_and_to_where_it_was_meant(how: str) -> None:
    with ExitStack() as stack:
        elsewhere = stack.enter_context(anthropic_double())

        def play(exchange: Exchange) -> None:
            if how == "moved":
                exchange.start(307, {"location": f"{elsewhere.url}/v1/messages"}, length=0)
            else:
                exchange.hang_up()

        double = stack.enter_context(HttpDouble(play))
        relay = stack.enter_context(in_thread(Relay()))
        url = "http://127.0.0.1:1" if how == "refused" else double.url
        chain = {"model": "anthropic/claude-answer", "upstreams": ["claude"], "fallbacks": ["relay-answer"]}
        own = {"base_url": relay.url, "api_keys": [words.KEY], "models": ["relay-answer"]}
        config = {"upstreams": {"claude": claude(url), "relay": own}, "aliases": {"chain": chain}}
        gateway = stack.enter_context(running_gateway(config))
        client = stack.enter_context(client_of(gateway))
        for stream in (False, True):
            served = client.post("chat/completions", json=body("chain", stream=stream))
            assert (served.status_code, served.headers["x-tunegate-upstream"]) == (200, "relay")
            assert served.headers["x-tunegate-fallback"] == "server_error"
        assert elsewhere.seen == []
        assert len(double.seen) == (0 if how == "refused" else 2)
        assert gateway.stop() == 0


def test_embeddings_go_through_too_by_the_official_sdk() -> None:
    with gemini_double() as double:
        upstream = claude(f"{double.url}/v1beta", provider="gemini", models=["text-embedding"])
        with running_gateway({"upstreams": {"gemini": upstream}}) as gateway:
            with gateway.sdk(gateway.new_key()) as sdk:
                made = sdk.embeddings.create(model="text-embedding", input=["a", "b"])
                plain = sdk.embeddings.create(model="text-embedding", input="a", encoding_format="float")
            assert [entry.embedding for entry in made.data] == [VECTOR, VECTOR]
            assert plain.data[0].embedding == VECTOR
            assert gateway.stop() == 0


def test_without_the_environment_the_upstream_is_disabled_and_fallbacks_serve(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with in_thread(Relay()) as relay:
        own = {"base_url": relay.url, "api_keys": [words.KEY], "models": ["relay-answer"]}
        config = {
            "upstreams": {"claude": claude("http://127.0.0.1:1"), "relay": own},
            "aliases": {
                "alone": {"model": "anthropic/claude-answer", "upstreams": ["claude"]},
                "chain": {
                    "model": "anthropic/claude-answer",
                    "upstreams": ["claude"],
                    "fallbacks": ["relay-answer"],
                },
            },
        }
        gateway = GatewayProcess(config)
        monkeypatch.setattr(
            "tests.e2e.gateway_process._environment",
            lambda: {**os.environ, "TUNEGATE_PROVIDERS_PYTHON": str(tmp_path / "gone")},
        )
        try:
            gateway.start()
            with client_of(gateway) as client:
                refused = client.post("chat/completions", json=body("alone"))
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_upstream")
                served = client.post("chat/completions", json=body("chain"))
                assert (served.status_code, served.headers["x-tunegate-fallback"]) == (200, "disabled")
            checked = gateway.cli("check-config", str(gateway.path))
            assert checked.returncode == 0
            assert "python3 dev.py providers" in checked.stdout
            assert gateway.stop() == 0
        finally:
            gateway.cleanup()


def test_the_list_of_needs_names_the_environment() -> None:
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, ROOT / "dev.py", "e2e", "--list"], capture_output=True, text=True, check=True
    )
    assert any(line.startswith("litellm ") and "present" in line for line in done.stdout.splitlines())
