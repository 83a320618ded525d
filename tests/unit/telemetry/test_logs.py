import errno
import io
import json
import logging
import subprocess
import sys
import warnings

import pytest
import structlog

from gateway.telemetry.logs import configure_logging


@pytest.fixture
def lines():
    out = io.BytesIO()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    uvicorn_level = logging.getLogger("uvicorn").level
    root.handlers.clear()  # pytest's own stay out of the way, and are not closed
    configure_logging("worker", 0, stream=out)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn").setLevel(uvicorn_level)


def test_structlog_writes_one_object_a_line(lines):
    log = structlog.get_logger("some.module")
    log.info("the store is away", upstream="openai", tries=3)
    log.debug("not told")
    log.warning("second")
    first, second = lines()
    assert list(first) == ["ts", "level", "event", "process", "upstream", "tries"]
    assert first["ts"].endswith("Z")
    del first["ts"]
    assert first == {
        "level": "info",
        "event": "the store is away",
        "process": "worker 0",
        "upstream": "openai",
        "tries": 3,
    }
    assert (second["level"], second["event"]) == ("warning", "second")


def test_exceptions_are_fields(lines):
    log = structlog.get_logger()
    try:
        {}["gone"]
    except LookupError as error:
        log.exception("failed", error=error)
        logging.getLogger("uvicorn.error").exception("failed %s", "again")
    for line in lines():
        assert line["level"] == "error"
        assert line["exception"].startswith("Traceback")
        assert line["exception"].endswith("KeyError: 'gone'")
    assert lines()[0]["error"] == "KeyError('gone')"
    assert lines()[1]["event"] == "failed again"


def test_bound_context_is_told(lines):
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger().info("inside")
    structlog.get_logger().info("outside")
    assert [line.get("request_id") for line in lines()] == ["r1", None]


def test_the_standard_library_speaks_the_same_way(lines):
    logging.getLogger("uvicorn.error").info("Started server process")  # told by the supervisor already
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("asyncio").error("Task was destroyed")
    first, second = lines()
    del first["ts"]
    assert first == {
        "level": "warning",
        "event": "Invalid HTTP request received.",
        "process": "worker 0",
        "logger": "uvicorn.error",
    }
    assert (second["level"], second["logger"]) == ("error", "asyncio")


def test_warnings_are_logged(lines):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
    (line,) = lines()
    assert line["logger"] == "py.warnings"
    assert "old ways" in line["event"]


def test_values_that_json_cannot_say_are_shown_some_other_way(lines):
    structlog.get_logger().info("odd", text="\ud800", number=1, flag=True, none=None, thing=object)
    structlog.get_logger().info("plain", thing=object, huge=2**80)
    odd, plain = lines()
    assert (odd["text"], odd["number"], odd["flag"], odd["none"]) == ("\\ud800", 1, True, None)
    assert odd["thing"] == plain["thing"] == "<class 'object'>"
    assert int(plain["huge"]) == 2**80


def test_by_default_it_is_standard_error_as_soon_as_it_is_said():
    code = (
        "import os, structlog; from gateway.telemetry.logs import configure_logging;"
        "configure_logging('control'); structlog.get_logger('x').info('hello'); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)  # noqa: S603  # ours
    assert done.stdout == b""
    line = json.loads(done.stderr)
    assert (line["event"], line["process"]) == ("hello", "control")


class FullDisk(io.BytesIO):
    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_on_a_full_disk_harms_nobody(monkeypatch):
    monkeypatch.setattr(logging, "root", logging.RootLogger(logging.WARNING))
    try:
        configure_logging("worker", stream=FullDisk())
        log = structlog.get_logger()
        for tell in (log.info, log.warning, log.error):
            tell("one")
        try:
            raise ValueError("two")  # noqa: TRY301  # something to tell of
        except ValueError:
            log.exception("three")
        logging.getLogger("asyncio").error("four")
    finally:
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
