"""A log that cannot fail: a full disk is what this room has to survive, and the log may be on that disk."""

from __future__ import annotations

import contextlib

import structlog


class SafeLog:
    """structlog's logger, but for its errors."""

    def __init__(self, name: str) -> None:
        self._log = structlog.get_logger(name)

    def info(self, event: str, **fields: object) -> None:
        """Tell what an operator may want to know."""
        with contextlib.suppress(OSError):
            self._log.info(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        """Tell what an operator should look at."""
        with contextlib.suppress(OSError):
            self._log.warning(event, **fields)

    def error(self, event: str, **fields: object) -> None:
        """Tell what an operator has to mend."""
        with contextlib.suppress(OSError):
            self._log.error(event, **fields)

    def exception(self, event: str, **fields: object) -> None:
        """Tell it with the exception that is being handled."""
        with contextlib.suppress(OSError):
            self._log.exception(event, **fields)
