"""Logging cannot fail, wherever the log goes."""

import errno

import structlog
from structlog.testing import capture_logs

from gateway.metering.safe_log import SafeLog


def test_lines_are_logged_as_ever():
    log = SafeLog("metering")
    with capture_logs() as logs:
        log.info("one", a=1)
        log.warning("two")
        log.error("three")
        log.exception("four")  # noqa: LOG004  # what it is handling is of no interest here
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("one", "info"),
        ("two", "warning"),
        ("three", "error"),
        ("four", "error"),
    ]


def test_a_log_on_a_full_disk_harms_nobody():
    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[no_room])
    try:
        log = SafeLog("metering")
        for tell in (log.info, log.warning, log.error, log.exception):
            tell("one")
    finally:
        structlog.configure(processors=before)
