import json
import os
import re

import pytest

from gateway.supervisor.output import log, say


def test_a_log_line_is_one_line_of_json(capfd: pytest.CaptureFixture[str]) -> None:
    log("child_exited", "warning", child="worker-0", reason=ValueError("two\nlines"), code=-9)
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    event = json.loads(err)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("ts"))
    assert event == {
        "level": "warning",
        "event": "child_exited",
        "child": "worker-0",
        "reason": "two\nlines",
        "code": -9,
    }


def test_what_is_said_goes_to_stdout_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    say("ready data=http://127.0.0.1:1 \udc80")
    assert capfd.readouterr() == ("ready data=http://127.0.0.1:1 ?\n", "")


def test_a_reader_that_has_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stdout = os.dup(1)
    try:
        os.dup2(writer, 1)
        say("nobody hears this")
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(writer)
