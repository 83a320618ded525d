"""Run `sdk.test.mjs`, the official Node SDK's tests, against a running gateway."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from relay import Relay

HERE = Path(__file__).parent
MODEL = "ft:gpt-4.1-mini-2025-04-14:acme:support:AbC123"
TESTS = re.findall(r"^test\(", (HERE / "sdk.test.mjs").read_text(), re.MULTILINE)


@pytest.fixture
def node() -> str:
    """The node program, with the locked SDK beside the tests."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        pytest.skip("no node or npm here (Debian: apt-get install nodejs npm)")
    installed = HERE / "node_modules" / ".package-lock.json"
    lock = HERE / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        done = subprocess.run(  # noqa: S603 - the lock names what is installed, by its hash
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=HERE,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"npm ci failed:\n{done.stdout}{done.stderr}"
    return program


def test_the_official_node_sdk(node: str, gateway: Callable, relay: Relay):
    config = {
        "server": {"drain_grace_s": 0},
        "upstreams": {
            "relay": {
                "base_url": relay.base_url,
                "api_keys": ["relay-key"],
                "owns": ["acme"],
                "models": ["relay-*"],
            },
            "nobody": {"base_url": "http://127.0.0.1:1/v1", "models": ["behind-a-closed-door"]},
        },
        "aliases": {
            "support": {"model": MODEL, "upstreams": ["relay"]},
            "closed": {"model": "behind-a-closed-door", "upstreams": ["nobody"]},
        },
    }
    running = gateway(json.dumps(config))
    done = subprocess.run(  # noqa: S603 - our own tests
        [node, "--test", "--test-reporter=tap", "sdk.test.mjs"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        env={
            **os.environ,
            "TUNEGATE_BASE_URL": running.base_url,
            "TUNEGATE_KEY": running.key,
            "TUNEGATE_NARROW_KEY": running.new_key(aliases=["support"]),
            "TUNEGATE_MODEL": MODEL,
        },
    )
    print(done.stdout)  # noqa: T201 - what passed is of interest too: pytest shows it with -rP
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(re.findall(r"^# (tests|pass|skipped) (\d+)$", done.stdout, re.MULTILINE))
    assert int(counts["tests"]) == int(counts["pass"]) == len(TESTS), f"some did not run: {counts}"
