"""What the supervisor says: its ready line and its children's notes on stdout, its log on stderr.

Written straight to the descriptors, a line a write: nothing is buffered, and a reader that has gone away is
no reason to stop serving.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Literal


def say(text: str) -> None:
    """Print one line for whoever started the gateway."""
    _write(1, text)


def log(event: str, level: Literal["info", "warning", "error"] = "info", **facts: object) -> None:
    """Log one event as a single line of JSON; `facts` are its own fields."""
    now = time.time()
    ts = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"
    _write(2, json.dumps({"ts": ts, "level": level, "event": event, **facts}, default=str))


def _write(descriptor: int, text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, text.encode("utf-8", "replace") + b"\n")
