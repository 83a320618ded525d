"""What `doctor` says of the environment of the provider process."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.doctor_providers import litellm_of, provider_upstream
from gateway.config.providers import ABSENT, VARIABLE
from gateway.config.upstream import UpstreamSettings


def interpreter(folder: Path, script: str) -> dict[str, str]:
    """An environment that names an interpreter which does this."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o700)
    return {VARIABLE: str(python)}


@pytest.mark.parametrize(
    ("script", "state", "said"),
    [
        ("echo 1.106.2", "ok", "with litellm 1.106.2"),
        ("echo 1.82.7", "bad", "a compromised release"),
        ("echo 1.82.8", "bad", "a compromised release"),
        (
            "echo PackageNotFoundError: litellm >&2; exit 1",
            "bad",
            "has no litellm: PackageNotFoundError: litellm",
        ),
    ],
)
async def test_its_litellm(tmp_path: Path, script: str, state: str, said: str) -> None:
    found = await litellm_of("upstream a", interpreter(tmp_path, script))
    assert (found.state, said in found.said) == (state, True)


async def test_no_environment(tmp_path: Path) -> None:
    found = await litellm_of("upstream a", {VARIABLE: str(tmp_path / "gone")})
    assert (found.state, found.do) == ("warn", "make it with: python3 dev.py providers")


async def test_a_disabled_upstream_says_why() -> None:
    lacking = UpstreamSettings.model_validate(
        {"kind": "litellm", "models": ["m"]}, context={"providers": None}
    )
    found = await provider_upstream("upstream a", lacking)
    assert (found.state, found.said) == ("warn", f"disabled: {ABSENT}")
    keyless = UpstreamSettings.model_validate({"kind": "litellm", "models": ["m"], "api_keys": [""]})
    assert (
        await provider_upstream("upstream a", keyless)
    ).said == "disabled: every entry of api_keys is empty"
