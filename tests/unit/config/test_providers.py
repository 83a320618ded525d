"""Kind litellm in the file: what it needs, and where the interpreter of its process is."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.catalog import build
from gateway.config import ConfigError, Settings, check, load
from gateway.config.providers import ABSENT, VARIABLE, providers_python
from gateway.domain.plan import Reason

GOOD = "upstreams: {a: {kind: litellm, models: [claude]}}\naliases: {s: {model: claude, upstreams: [a]}}"


def _python(folder: Path, mode: int = 0o700) -> Path:
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    python.chmod(mode)
    return python


def _loaded(text: str, python: Path | str) -> Settings:
    return load(text, base=Path(), env={VARIABLE: str(python)}, name="f")


def test_the_interpreter_is_the_one_that_is_named(tmp_path: Path) -> None:
    python = _python(tmp_path / "other")
    assert providers_python({VARIABLE: str(python)}, str(tmp_path / ".venv")) == python


def test_else_it_is_that_of_the_environment_beside_our_own(tmp_path: Path) -> None:
    assert providers_python({}, str(tmp_path / ".venv")) is None
    python = _python(tmp_path / ".venv-providers")
    assert providers_python({}, str(tmp_path / ".venv")) == python
    assert providers_python({VARIABLE: str(tmp_path / "gone")}, str(tmp_path / ".venv")) is None


def test_one_that_cannot_be_run_is_none(tmp_path: Path) -> None:
    assert providers_python({VARIABLE: str(_python(tmp_path, 0o600))}) is None


def test_without_it_the_upstream_is_disabled_and_the_warning_names_the_command(tmp_path: Path) -> None:
    settings = _loaded(GOOD, tmp_path / "gone")
    assert not settings.upstreams["a"].enabled
    [first, second] = map(str, check(settings))
    assert first == f"f:1: upstreams.a: disabled: {ABSENT}"
    assert "python3 dev.py providers" in ABSENT
    assert second.endswith("no enabled upstream serves its model: calls get 503 no_upstream")
    [candidate] = build(settings).aliases["s"].candidates
    assert (candidate.skip, candidate.detail) == (Reason.DISABLED, ABSENT)


def test_with_it_the_upstream_serves(tmp_path: Path) -> None:
    settings = _loaded(GOOD, _python(tmp_path))
    assert settings.upstreams["a"].enabled
    assert check(settings) == []


@pytest.mark.parametrize(
    ("block", "path", "message"),
    [
        ("kind: litellm", "models", "kind litellm needs a list of what it serves, such as [anthropic/*]"),
        ("kind: litellm, models: discover", "models", "kind litellm needs a list"),
        ("kind: litellm, models: [m], allow_private: false", "allow_private", "cannot be held there"),
        ("kind: litellm, models: [m], training: true", "training", "no files and no fine-tuning"),
        ("kind: litellm, models: [m], owns: [acme]", "owns", "no accounts with ft: ids"),
        ("base_url: 'https://a', provider: anthropic", "provider", "only kind litellm has this"),
        ("base_url: 'https://a', params: {top_k: 1}", "params", "only kind litellm has this"),
    ],
)
def test_what_does_not_go_together_is_refused(block: str, path: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        _loaded(f"upstreams: {{a: {{{block}}}}}", _python(tmp_path))
    [problem] = refused.value.problems
    assert problem.path == f"upstreams.a.{path}"
    assert message in problem.message
