"""Others that stand between a client and a model, to be measured beside Tunegate: LiteLLM and Portkey.

Both are given what they need to do the same work as far as they can. What is not alike is said in
docs/performance.md, and it is in their favour: neither keeps a ledger here, and Portkey knows no keys.
"""

import json
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from contenders import HERE, Target, Upstream, free_port, wait_for_port
from processes import PROXY_CORE, start, stop

from gateway.supervisor.paths import server_binary

LITELLM = HERE.parent / ".venv-peers" / "bin" / "litellm"
PORTKEY = HERE.parent / "build" / "peers"
PORTKEY_FILES = [HERE / "portkey" / name for name in ("package.json", "package-lock.json")]
INSTALL_LIMIT_S = 300
NAMES = ("litellm", "portkey")
LIMITS = {"rpm": 10_000_000, "tpm": 900_000_000}
"""Of the key of those that know keys: looked at for each call, and never met."""

# One session, so that all of it is counted and ends: the store, and the proxy that is given as arguments.
BESIDE_A_STORE = """
"$STORE" --port "$STORE_PORT" --bind 127.0.0.1 --save '' --appendonly yes --appendfsync everysec & store=$!
"$@" & proxy=$!
trap 'kill $proxy' TERM
wait $proxy; wait $proxy
kill $store; wait $store
"""


def missing(names: Iterable[str]) -> list[str]:
    """Return one line for each of `names` that cannot be had here, with what installs it."""
    lines = []
    if "litellm" in names and not LITELLM.exists():
        lines.append("litellm is not here: python3 dev.py bench --peers installs it")
    if "portkey" in names:
        lines += [
            f"{program}, for portkey, is not here (Debian: apt-get install nodejs npm)"
            for program in ("node", "npm")
            if shutil.which(program) is None
        ]
    return lines


def install(names: Iterable[str]) -> None:
    """Install Portkey's gateway where it is not yet, every file by its hash; LiteLLM came with `dev.py`."""
    if "portkey" not in names:
        return
    stamp = PORTKEY / "node_modules" / "made-from.json"
    wanted = PORTKEY_FILES[1].read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    PORTKEY.mkdir(parents=True, exist_ok=True)
    for file in PORTKEY_FILES:
        shutil.copy(file, PORTKEY)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    print("installing portkey with npm ...", file=sys.stderr, flush=True)
    subprocess.run(command, cwd=PORTKEY, check=True, timeout=INSTALL_LIMIT_S, stdout=subprocess.DEVNULL)
    stamp.write_text(wanted)


def versions() -> dict[str, str]:
    """Return which of each is measured."""
    locked = re.search(r"(?m)^litellm==(\S+)", (HERE.parent / "requirements-peers.lock").read_text())
    wanted = json.loads(PORTKEY_FILES[0].read_text())["dependencies"]
    return {"litellm": locked[1] if locked else "", "portkey": wanted["@portkey-ai/gateway"]}


def litellm_config(base_url: str, models: Iterable[str], store_port: int) -> dict:
    """Return LiteLLM's configuration: each model by name, limits counted in the store, nothing extra."""
    upstream = {"api_base": base_url, "api_key": "none", "max_retries": 0}
    return {
        "model_list": [
            {"model_name": model, "litellm_params": {"model": f"openai/{model}", **upstream}}
            for model in models
        ],
        "litellm_settings": {"num_retries": 0, "request_timeout": 120, "telemetry": False},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "general_settings": {
            "master_key": f"sk-{secrets.token_hex(16)}",
            "custom_auth": "litellm_auth.user_api_key_auth",
            "coordination_redis": {"host": "127.0.0.1", "port": store_port},
        },
    }


@contextmanager
def litellm(to: Upstream, models: Iterable[str]) -> Iterator[Target]:
    """Run LiteLLM's proxy, one worker: a key with limits, checked by `custom_auth`, counted in a Valkey.

    Its own virtual keys need a database engine that a benchmark cannot bring along.
    """
    port, store_port, key = free_port(), free_port(), f"sk-{secrets.token_hex(16)}"
    with tempfile.TemporaryDirectory(prefix="bench-litellm-") as name:
        folder = Path(name)
        shutil.copy(HERE / "litellm_auth.py", folder)
        config = folder / "config.yaml"
        config.write_text(json.dumps(litellm_config(to.base_url, models, store_port), indent=1))
        environment = {
            "BENCH_KEY": key,
            "BENCH_RPM": str(LIMITS["rpm"]),
            "BENCH_TPM": str(LIMITS["tpm"]),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the network for prices as it starts
            "LITELLM_LOG": "ERROR",
            "STORE": str(server_binary()),
            "STORE_PORT": str(store_port),
        }
        serve = [str(LITELLM), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        command = ["sh", "-c", f'cd "{folder}"\n{BESIDE_A_STORE}', "litellm", *serve, "--num_workers", "1"]
        began = time.monotonic()
        process = start(command, PROXY_CORE, to.log, env=environment)
        try:
            wait_for_port(port, process)
            yield Target("litellm", process.pid, port, key, ready_s=time.monotonic() - began)
        finally:
            stop(process)


@contextmanager
def portkey(to: Upstream) -> Iterator[Target]:
    """Run Portkey's gateway on node: no keys and no limits, as this package has none."""
    port = free_port()
    config = {"provider": "openai", "custom_host": to.base_url, "api_key": "none", "retry": {"attempts": 0}}
    server = PORTKEY / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    node = shutil.which("node")
    began = time.monotonic()
    command = [str(node), str(server), f"--port={port}", "--headless"]
    process = start(command, PROXY_CORE, to.log, env={"NODE_ENV": "production"})
    try:
        wait_for_port(port, process)
        header = f"x-portkey-config: {json.dumps(config)}"
        yield Target("portkey", process.pid, port, header=header, ready_s=time.monotonic() - began)
    finally:
        stop(process)
