import threading
from collections.abc import Sequence

import pytest

from gateway.domain.facts import Facts
from gateway.telemetry.tracing import MOST_WAITING, Ended, Tracing

SAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = SAMPLED[:-1] + b"0"


class Kept:
    """An exporter that keeps what it gets, and may hang."""

    def __init__(self) -> None:
        self.got: list[Ended] = []
        self.threads: set[str] = set()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_closed = False

    def export(self, ended: Sequence[Ended], offset_s: float) -> None:
        self.threads.add(threading.current_thread().name)
        self.may_go_on.wait(20)
        self.got += ended
        assert offset_s > 0

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(("ratio", "parent", "sampled"), [(0, SAMPLED, True), (1, UNSAMPLED, False)])
def test_a_callers_trace_decides_for_itself(ratio: float, parent: bytes, sampled: bool) -> None:
    tracing = Tracing(Kept(), sample_ratio=ratio, interval_s=60)
    trace = tracing.begin(parent, b"a=b")
    assert trace.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert trace.parent_id == "b7ad6b7169203331"
    assert trace.is_sampled is sampled
    assert trace.state == b"a=b"
    tracing.close()


@pytest.mark.parametrize("ratio", [0, 1])
def test_a_trace_that_begins_here_is_sampled_by_the_ratio(ratio: float) -> None:
    tracing = Tracing(Kept(), sample_ratio=ratio, interval_s=60)
    traces = [tracing.begin(parent, None) for parent in (None, b"nonsense") for _ in range(50)]
    assert {trace.is_sampled for trace in traces} == {bool(ratio)}
    assert len({trace.trace_id for trace in traces}) == len({trace.span_id for trace in traces}) == 100
    tracing.close()


def test_what_waits_is_sent_at_the_end_in_the_thread() -> None:
    kept = Kept()
    tracing = Tracing(kept, sample_ratio=1, interval_s=3600)
    tracing.ended(Facts("r1", 0.0), 1.0)
    tracing.close()
    assert [facts.request_id for facts, _ in kept.got] == ["r1"]
    assert kept.threads == {"otlp"}
    assert kept.is_closed


def test_a_collector_that_hangs_costs_memory_within_a_bound_and_no_time() -> None:
    kept = Kept()
    kept.may_go_on.clear()
    tracing = Tracing(kept, sample_ratio=1, interval_s=3600)
    for n in range(MOST_WAITING + 100):
        tracing.ended(Facts(str(n), 0.0), 1.0)
    tracing.close(timeout_s=0.05)
    assert kept.got == []
    kept.may_go_on.set()
    tracing.close()
    assert len(kept.got) == MOST_WAITING
    assert kept.got[0][0].request_id == "100"
