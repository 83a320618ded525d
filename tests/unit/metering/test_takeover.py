"""Whose journal is replayed, by whom, and whose settlements are spared from sweeping."""

import errno

import pytest
from structlog.testing import capture_logs

from gateway.metering import takeover as takeover_module
from gateway.metering.journal_file import JournalFile
from gateway.metering.replay import Replayer
from gateway.metering.takeover import Takeover
from tests.unit.metering.made import FakeAccounts, FakeRejected, entries


class Bench:
    def __init__(self, folder) -> None:
        self.folder = folder
        self.accounts = FakeAccounts()
        self.rejected = FakeRejected()
        self.pending: list[int] = []
        self.takeover = Takeover(
            folder, Replayer(self.accounts, self.rejected), on_pending=self.pending.append
        )

    def journal(self, name: str, *request_ids: str) -> JournalFile:
        """The journal of a process that lives until it is closed."""
        self.folder.mkdir(exist_ok=True)
        file = JournalFile.create(self.folder / f"{name}.journal")
        file.append(entries(*request_ids))
        return file

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
async def bench(tmp_path):
    bench = Bench(tmp_path / "journal")
    yield bench
    await bench.takeover.aclose()


async def test_without_a_folder_nothing_is_left_to_do(bench):
    assert await bench.takeover.run()
    assert await bench.takeover.settled_by_the_living() == set()
    assert bench.pending == []


async def test_the_dead_are_replayed_and_their_files_removed(bench):
    bench.journal("w1-1", "req_1", "req_2").close()
    bench.journal("w2-1", "req_3").close()
    assert await bench.takeover.run()
    assert bench.accounts.ids == ["req_1", "req_2", "req_3"]
    assert bench.files == []
    assert bench.pending[-1] == 0


async def test_the_living_are_read_only(bench):
    file = bench.journal("w1-1", "req_1", "req_2")
    file.advance(file.read(1).end)
    bench.journal("w2-1", "req_3").close()
    assert await bench.takeover.run()
    assert bench.accounts.ids == ["req_3"]
    assert bench.files == ["w1-1.journal"]
    assert await bench.takeover.settled_by_the_living() == {"req_2"}
    file.close()


async def test_while_the_store_is_away_the_files_stay_locked_and_counted(bench):
    bench.journal("w1-1", "req_1", "req_2").close()
    bench.accounts.is_away = True
    assert not await bench.takeover.run()
    assert not await bench.takeover.run()
    assert bench.pending[-1] == 2
    assert JournalFile.take_over(bench.folder / "w1-1.journal") is None
    bench.accounts.is_away = False
    assert await bench.takeover.run()
    assert bench.accounts.ids == ["req_1", "req_2"]
    assert bench.pending[-1] == 0


async def test_a_process_that_dies_later_is_replayed_later(bench):
    file = bench.journal("w1-1", "req_1")
    assert await bench.takeover.run()
    file.close()
    assert await bench.takeover.run()
    assert bench.accounts.ids == ["req_1"]


async def test_of_two_heirs_one_replays(bench):
    bench.journal("w1-1", "req_1").close()
    other = Takeover(bench.folder, Replayer(bench.accounts, bench.rejected))
    bench.accounts.is_away = True
    await bench.takeover.run()
    bench.accounts.is_away = False
    assert await other.run()  # for the other one it is the file of a living process
    assert bench.accounts.ids == []
    await bench.takeover.aclose()
    assert await other.run()
    assert bench.accounts.ids == ["req_1"]


async def test_a_file_that_cannot_be_opened_is_told_of_and_holds_up_the_sweep_but_not_the_others(
    bench, monkeypatch
):
    bench.journal("w1-1", "req_1").close()
    bench.journal("w2-1", "req_2").close()
    take_over = JournalFile.take_over

    def forbidden(path):
        if path.name == "w1-1.journal":
            raise PermissionError(errno.EACCES, "not yours")
        return take_over(path)

    monkeypatch.setattr(takeover_module.JournalFile, "take_over", forbidden)
    with capture_logs() as logs:
        assert not await bench.takeover.run()
    assert bench.accounts.ids == ["req_2"]
    complaint = next(line for line in logs if line["log_level"] == "error")
    assert complaint["path"].endswith("w1-1.journal")
    assert "not yours" in complaint["reason"]


async def test_a_file_that_cannot_be_removed_is_replayed_once(bench, monkeypatch):
    bench.journal("w1-1", "req_1").close()

    def no(_: object) -> None:
        raise OSError(errno.EROFS, "read only")

    with monkeypatch.context() as patch:
        patch.setattr(JournalFile, "remove", no)
        assert not await bench.takeover.run()
        assert not await bench.takeover.run()
    assert bench.accounts.asked == 1
    assert await bench.takeover.run()
    assert bench.accounts.asked == 1
    assert bench.files == []


async def test_what_is_rejected_does_not_hold_up_the_sweep(bench):
    bench.journal("w1-1", "req_1", "req_2").close()
    bench.accounts.refuses["req_1"] = ValueError("never")
    assert await bench.takeover.run()
    assert bench.rejected.kept == ["req_1"]
    assert bench.accounts.ids == ["req_2"]


async def test_damaged_lines_are_told_of_and_kept(bench):
    bench.journal("w1-1", "req_1", "req_2").close()
    path = bench.folder / "w1-1.journal"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"req_1", b"req_9"))
    with capture_logs() as logs:
        assert await bench.takeover.run()
    assert bench.accounts.ids == ["req_2"]
    assert bench.files == ["w1-1.journal.damaged"]
    assert any("cannot be read" in line["event"] for line in logs)


async def test_other_files_are_left_alone(bench):
    bench.folder.mkdir()
    (bench.folder / "w1-1.rejected").write_bytes(b"")
    (bench.folder / "notes").write_bytes(b"")
    assert await bench.takeover.run()
    assert bench.files == ["notes", "w1-1.rejected"]
