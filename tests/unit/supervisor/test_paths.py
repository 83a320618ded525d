import os
from pathlib import Path

import pytest

from gateway.supervisor.paths import embedded_cache_socket, embedded_socket, server_binary

SUN_PATH_BYTES = 104  # macOS has four less than Linux


def test_one_folder_has_one_socket_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    names = [folder, Path("data"), tmp_path / "link", folder / ".." / "data"]
    assert len({embedded_socket(name) for name in names}) == 1
    assert embedded_socket(folder) != embedded_socket(tmp_path)


def test_the_environment_does_not_move_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = embedded_socket(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert embedded_socket(tmp_path) == before


def test_it_is_short_for_any_folder() -> None:
    path = embedded_socket(Path("/") / ("näme" * 50) / ("x" * 200))
    assert len(path.encode()) < SUN_PATH_BYTES
    assert Path(path).parent.name == f"tunegate-{os.getuid()}"


def test_the_cache_has_a_socket_of_its_own_beside_it(tmp_path: Path) -> None:
    path = embedded_cache_socket(tmp_path)
    assert Path(path).parent == Path(embedded_socket(tmp_path)).parent
    assert path != embedded_socket(tmp_path)
    assert embedded_socket(tmp_path) not in path  # who looks for one process by its socket finds one
    assert len(path.encode()) < SUN_PATH_BYTES


def test_the_server_of_the_wheel_can_be_run() -> None:
    assert os.access(server_binary(), os.X_OK)


def test_another_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.uname()
    there = os.uname_result((here.sysname, here.nodename, here.release, here.version, "vax"))
    monkeypatch.setattr(os, "uname", lambda: there)
    with pytest.raises(FileNotFoundError, match=f"no valkey-server for {here.sysname} vax"):
        server_binary()
