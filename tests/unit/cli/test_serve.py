import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.main import tunegate
from gateway.cli.serve import checked, overrides_of, prepare
from gateway.config import load
from gateway.supervisor.spec import Address, CacheSpec, HealthSpec, read_spec

FILE = """
server: {port: 8080, workers: 3, drain_grace_s: 1, worker_max_open_files: 500}
store: {data_dir: ../data, durability: everysec}
upstreams:
  simulated: {kind: demo}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    path = tmp_path / "config" / "gateway.yaml"
    path.parent.mkdir()
    path.write_text(FILE)
    return path


def test_the_supervisor_can_read_what_it_is_asked(file: Path, tmp_path: Path) -> None:
    overrides = overrides_of(None, None, None)
    text, settings = checked(file, overrides, {})
    spec_path = prepare(file, text, settings, overrides)
    spec = read_spec(spec_path)
    assert spec.config_path == file
    assert spec.data == Address("127.0.0.1", 8080)
    assert spec.workers == 3
    assert spec.demo
    assert (spec.store.embedded, spec.store.data_dir, spec.store.durability) == (
        True,
        (tmp_path / "data").resolve(),
        "everysec",
    )
    assert (spec.drain_grace_s, spec.drain_timeout_s) == (1, 300)
    assert spec.health == HealthSpec(unresponsive_s=30, memory_bytes=None, open_files=500)
    assert (spec.runtime_dir / "active.yaml").read_text() == FILE
    modes = [path.stat().st_mode & 0o777 for path in (spec.runtime_dir, spec_path)]
    assert modes == [0o700, 0o600]


@pytest.mark.parametrize(
    ("more", "cache"),
    [
        ("", CacheSpec(is_wanted=False, memory_bytes=67108864)),
        ("cache: {enabled: true}", CacheSpec(is_wanted=True, memory_bytes=67108864)),
        (
            "aliases: {a: {model: m, cache: {enabled: true}}}",
            CacheSpec(is_wanted=True, memory_bytes=67108864),
        ),
        ("aliases: {a: {model: m, cache: {ttl_s: 5}}}", CacheSpec(is_wanted=False, memory_bytes=67108864)),
        ("store: {url: 'redis://h'}", None),
        ("store: {cache_url: 'redis://h'}", None),
        (
            "store: {url: 'redis://h', cache_url: embedded, cache_memory_bytes: 8388608}",
            CacheSpec(False, 8388608),
        ),
    ],
)
def test_the_cache_gets_a_server_where_it_is_not_elsewhere(
    file: Path, more: str, cache: CacheSpec | None
) -> None:
    file.write_text(f"upstreams: {{a: {{kind: demo}}}}\n{more}\n")
    text, settings = checked(file, {}, {})
    assert read_spec(prepare(file, text, settings, {})).cache == cache


def test_the_command_line_beats_the_file_in_every_process(file: Path, tmp_path: Path) -> None:
    overrides = overrides_of(0, 9, tmp_path / "elsewhere")
    text, settings = checked(file, overrides, {})
    spec = read_spec(prepare(file, text, settings, overrides))
    assert (spec.data.port, spec.admin.port, spec.store.data_dir) == (0, 9, tmp_path / "elsewhere")
    active = (spec.runtime_dir / "active.yaml").read_text()
    assert load(active, base=file.parent, env={}, name="") == settings
    assert json.loads((spec.runtime_dir / "spec.json").read_text())["overrides"] == overrides


def test_a_relative_folder_on_the_command_line_is_relative_to_where_one_stands() -> None:
    assert overrides_of(None, None, Path("x"))["store"]["data_dir"] == str(Path.cwd() / "x")


def test_every_mistake_is_printed_and_nothing_starts(file: Path) -> None:
    file.write_text("server: {port: many}\nupstreams:\n  a: {base_url: nowhere}\n")
    result = CliRunner().invoke(tunegate, ["serve", "--config", str(file)])
    assert result.exit_code == 1
    assert f"{file}:1: server.port:" in result.output
    assert f"{file}:3: upstreams.a.base_url:" in result.output
    assert not list(file.parent.parent.glob("tunegate-*"))


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(tunegate, ["serve", "--config", str(tmp_path / "none.yaml")])
    assert result.exit_code == 1
    assert "cannot be read" in result.output
