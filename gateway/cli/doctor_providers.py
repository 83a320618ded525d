"""The environment of the provider process: whether it is there, and which litellm it has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from gateway.cli.doctor_finding import Finding, bad, ok, warn
from gateway.config.providers import providers_python
from gateway.config.upstream import UpstreamSettings

WITHIN_S = 20.0
TAINTED = ("1.82.7", "1.82.8")
"""Releases of March 2026 that someone else had made: they sent away what they found."""

_ASK = "import importlib.metadata as m; print(m.version('litellm'))"
_MAKE = "make it with: python3 dev.py providers"


async def provider_upstream(check: str, upstream: UpstreamSettings) -> Finding:
    """What there is to say of an upstream of kind litellm; its provider is not called, which would cost."""
    if upstream.disabled:
        mends = "set the variable that its api_keys name" if not upstream.anonymous else _MAKE
        return warn(check, f"disabled: {upstream.disabled}", mends)
    return await litellm_of(check, os.environ)


async def litellm_of(check: str, env: Mapping[str, str]) -> Finding:
    """Ask the interpreter of the provider process for its litellm."""
    python = providers_python(env)
    if python is None:
        return warn(check, "there is no environment for its process", _MAKE)
    version, why = await _run(str(python))
    if version is None:
        return bad(check, f"{python} has no litellm: {why}", _MAKE)
    if version in TAINTED:
        return bad(
            check,
            f"litellm {version} is a compromised release",
            "remove that environment, change every secret it could read, then " + _MAKE,
        )
    return ok(check, f"served by the provider process, with litellm {version}; its key is not tried")


async def _run(python: str) -> tuple[str | None, str]:
    """Its answer, or None and why there is none."""
    try:
        asking = await asyncio.create_subprocess_exec(
            python, "-I", "-c", _ASK, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        return None, str(error.strerror)
    try:
        async with asyncio.timeout(WITHIN_S):
            said, complaint = await asking.communicate()
    except TimeoutError:
        asking.kill()
        await asking.wait()
        return None, f"it did not answer within {WITHIN_S:.0f} s"
    if asking.returncode:
        return None, (complaint.decode("utf-8", "replace").splitlines() or ["no reason given"])[-1]
    return said.decode("utf-8", "replace").strip(), ""
