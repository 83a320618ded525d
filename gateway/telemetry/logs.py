"""The process's log: one JSON object a line on standard error, whoever writes it.

`structlog.get_logger()` and the standard library's `logging` (uvicorn's, asyncio's) end up in the same
shape: `ts`, `level`, `event`, `process`, and the event's own fields.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any, BinaryIO, cast

import msgspec
import structlog

from gateway.telemetry.access_log import AccessLog, encodable
from gateway.telemetry.stamp import Stamp

__all__ = ["AccessLog", "configure_logging"]

_encode = msgspec.json.Encoder(enc_hook=repr).encode


def configure_logging(process: str, index: int | None = None, *, stream: BinaryIO | None = None) -> None:
    """Set up structlog and `logging` for this whole process. Call it once, before anything is logged.

    Args:
        process: what this process is, such as "worker"; every line says so.
        index: which one of several.
        stream: standard error if None.
    """
    out = cast("BinaryIO", _Surviving(sys.stderr.buffer if stream is None else stream))
    name = process if index is None else f"{process} {index}"
    stamp = Stamp()

    def finish(_: Any, level: str, event: MutableMapping[str, Any]) -> bytes:
        head = {"ts": stamp.now(), "level": level, "event": event.pop("event", ""), "process": name}
        return _render({**head, **event})

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            finish,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    handler = _JsonHandler(out, name, stamp)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # the supervisor tells of starts and ends


class _Surviving:
    """A stream that cannot fail: the log may be on the disk that is full, and serving goes on."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        with contextlib.suppress(OSError):
            return self._stream.write(data)
        return len(data)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class _JsonHandler(logging.Handler):
    """Brings the standard library's records into our shape."""

    def __init__(self, out: BinaryIO, process: str, stamp: Stamp) -> None:
        super().__init__()
        self._log = structlog.BytesLogger(out)
        self._process = process
        self._stamp = stamp

    def emit(self, record: logging.LogRecord) -> None:
        """Part of `logging.Handler`."""
        line: dict[str, Any] = {
            "ts": self._stamp.now(),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "process": self._process,
            "logger": record.name,
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        self._log.msg(_render(line))


def _render(line: Mapping[str, Any]) -> bytes:
    try:
        return _encode(line)
    except (TypeError, ValueError, OverflowError):
        return _encode({str(key): encodable(value) for key, value in line.items()})
