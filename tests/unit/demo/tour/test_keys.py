import json
import stat
from pathlib import Path

import pytest

from gateway.demo.tour.keys import FILE, DevelopmentKeys


def test_keys_are_made_once_and_kept_for_this_user_only(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    first = DevelopmentKeys.load(folder, {})
    first.virtual = "tg-a-b"
    first.save({})
    assert DevelopmentKeys.load(folder, {}) == first
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == [FILE]


def test_two_folders_have_two_admin_keys(tmp_path: Path) -> None:
    admins = {DevelopmentKeys.load(tmp_path / name, {}).admin for name in "ab"}
    assert len(admins) == 2


def test_the_admin_key_of_the_environment_wins_and_is_not_stored(tmp_path: Path) -> None:
    env = {"TUNEGATE_ADMIN_KEY": "from-outside"}
    keys = DevelopmentKeys.load(tmp_path, env)
    assert keys.admin == "from-outside"
    keys.virtual = "tg-a-b"
    keys.save(env)
    assert json.loads((tmp_path / FILE).read_text()) == {"virtual_key": "tg-a-b"}


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_broken_file_is_written_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    keys = DevelopmentKeys.load(tmp_path, {})
    assert json.loads((tmp_path / FILE).read_text())["admin_key"] == keys.admin
