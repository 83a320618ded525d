"""The slow shows of overload and restarts, each in a small edition."""

from tests.chaos import overload, readers, restarts


def test_many_times_the_load_leaves_most_of_the_goodput() -> None:
    figures = overload.run(overload.Settings(places=8, wait=0.1, times=5, seconds=1))

    # Looser than by hand, where nothing else runs: here other tests may have the processor.
    assert min(figures["shares"].values()) > 0.7, figures
    assert figures["refused"] > 100
    assert figures["others"] == {}


def test_stopped_readers_cost_little_and_are_cut() -> None:
    figures = readers.run(readers.Settings(readers=50, stall=1))

    # So few do not outweigh what memory a process takes in pieces of megabytes.
    assert figures["worker_mib"]["most"] - figures["worker_mib"]["before"] < 16 + 50 * 0.25, figures
    assert figures["sockets"]["most"] >= 50
    assert figures["sockets"]["after"] <= figures["sockets"]["before"]


def test_rolling_restarts_drop_no_stream_and_refuse_no_connection() -> None:
    figures = restarts.run(restarts.Settings(restarts=2, streams=10))

    assert restarts.is_good(figures), figures
    assert figures["workers_started"] == 6
    assert figures["streams_whole"] >= 10
