"""What the provider process is made from: one version of litellm, every file by its hash."""

from __future__ import annotations

import re

from tests.unit.docs.pages import ROOT

LOCK = (ROOT / "requirements-providers.lock").read_text("utf-8")
ENTRIES = re.split(r"(?m)^(?=[a-z0-9])", LOCK)[1:]
VERSIONS = dict(re.findall(r"(?m)^([a-z0-9][a-z0-9._-]*)==([^\s;]+)", LOCK))


def test_litellm_is_the_version_that_was_read() -> None:
    assert VERSIONS["litellm"] == "1.106.2"
    assert VERSIONS["litellm"] not in {"1.82.7", "1.82.8"}  # compromised
    assert VERSIONS["openai"].split(".")[0] < "3"
    assert "uvicorn" in VERSIONS


def test_every_file_is_known_by_its_hash_and_none_by_an_address() -> None:
    assert len(ENTRIES) == len(VERSIONS)
    for entry in ENTRIES:
        assert "--hash=sha256:" in entry, entry
    assert not re.search(r"https?:|://|--(?:extra-)?index-url|@ ", LOCK)


def test_what_runs_at_every_start_of_an_interpreter_is_not_there() -> None:
    """The compromised releases came with a `litellm_init.pth`. True as well where nothing is installed."""
    assert list((ROOT / ".venv-providers").glob("lib/python*/site-packages/*litellm*.pth")) == []
