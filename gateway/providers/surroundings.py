"""What is made sure of before litellm is imported: no network, no files of strangers, quiet logs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import MutableMapping
from typing import Any

SETTINGS = {
    # its own copy of the price list, in place of one that it fetches at import
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    # else it reads a `.env` of whatever folder it was started in
    "LITELLM_MODE": "PRODUCTION",
    # a caller's image is data or a provider's affair: nothing is fetched for one from inside our network
    "MAX_IMAGE_URL_DOWNLOAD_SIZE_MB": "0",
    # it takes so many equal pieces of a stream for a loop, which a table may well have
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000000",
    "DISABLE_AIOHTTP_TRANSPORT": "True",
    # tokenizers come with the package; none is looked for elsewhere
    "HF_HUB_OFFLINE": "1",
}
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")


def prepare(environment: MutableMapping[str, str]) -> None:
    """Set what litellm reads when it is imported, and send what it prints where it hurts nobody."""
    environment.update(SETTINGS)
    os.dup2(2, 1)  # our standard output is the gateway's; its lines are read by programs


def quieten() -> None:
    """After the import: litellm's own log, which may hold prompts and keys, goes nowhere."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.disabled = True


def log(event: str, level: str = "info", **facts: Any) -> None:
    """One line of JSON to standard error, as all processes of the gateway write them."""
    now = time.time()
    ts = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"
    line = {"ts": ts, "level": level, "event": event, "process": "providers", **facts}
    sys.stderr.write(json.dumps(line, default=str) + "\n")


def note_stray_failures(loop: asyncio.AbstractEventLoop) -> None:
    """A task of litellm's that fails beside the calls is a line, by its class only."""

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        log("a task beside the calls failed", "warning", error=type(error).__name__ if error else None)

    loop.set_exception_handler(handle)
