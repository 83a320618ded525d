"""What the store refuses for good is kept in the journal's own form."""

from structlog.testing import capture_logs

from gateway.metering.journal_file import JournalFile, payloads_in
from gateway.metering.rejected import Rejected
from tests.unit.metering.made import KEY, entries, settlement
from tests.unit.metering.test_journal_file import files_up_to


async def test_it_is_on_disk_and_in_the_log(tmp_path):
    rejected = Rejected(tmp_path / "journal", "w1")
    first, second = entries("req_1", "req_2")
    with capture_logs() as logs:
        await rejected.keep(first, settlement("req_1"), ValueError("no such thing"))
        await rejected.keep(second, None, ValueError("unreadable"))
    path = tmp_path / "journal" / "w1-1.rejected"
    assert list(payloads_in(path)) == [first, second]
    assert logs[0]["log_level"] == "error"
    assert (logs[0]["request_id"], logs[0]["key"], logs[0]["reason"]) == ("req_1", KEY, "no such thing")
    assert logs[0]["file"] == str(path)
    await rejected.aclose()


async def test_renamed_it_is_a_journal(tmp_path):
    rejected = Rejected(tmp_path, "w1")
    payload = entries("req_1")[0]
    await rejected.keep(payload, None, ValueError())
    await rejected.aclose()
    path = (tmp_path / "w1-1.rejected").rename(tmp_path / "again.journal")
    file = JournalFile.take_over(path)
    assert file is not None
    assert [entry.payload for entry in file.read(10).entries] == [payload]
    file.close()


async def test_after_an_error_it_goes_on_in_a_new_file(tmp_path):
    rejected = Rejected(tmp_path, "w1")
    first, second = entries("req_1", "req_2")
    await rejected.keep(first, None, ValueError())
    with files_up_to(100):
        try:
            await rejected.keep(second, None, ValueError())
        except OSError:
            pass
        else:
            raise AssertionError("it cannot have fitted")
    await rejected.keep(second, None, ValueError())
    assert list(payloads_in(tmp_path / "w1-1.rejected")) == [first]
    assert list(payloads_in(tmp_path / "w1-2.rejected")) == [second]
    await rejected.aclose()
