import stat
from pathlib import Path

import pytest

from gateway.supervisor.store import StoreFailed, _clear


def test_the_sockets_directory_is_made_for_us_alone_and_what_was_left_is_removed(tmp_path: Path) -> None:
    directory = tmp_path / "tunegate-1"
    _clear(directory / "a.sock")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    (directory / "a.sock").touch()
    (directory / "b.sock").touch()
    directory.chmod(0o755)
    _clear(directory / "a.sock")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert [path.name for path in directory.iterdir()] == ["b.sock"]


def test_a_directory_that_points_elsewhere_is_a_trap(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.sock").touch()
    (tmp_path / "tunegate-1").symlink_to(tmp_path / "theirs")
    with pytest.raises(StoreFailed, match="tunegate-1 is not a directory of this user"):
        _clear(tmp_path / "tunegate-1" / "a.sock")
    assert (tmp_path / "theirs" / "a.sock").exists()


def test_a_directory_of_someone_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr("os.getuid", lambda: owner + 1)
    with pytest.raises(StoreFailed, match="is not a directory of this user"):
        _clear(tmp_path / "a.sock")
