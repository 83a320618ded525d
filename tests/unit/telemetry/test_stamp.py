from gateway.telemetry.stamp import Stamp


def test_utc_with_milliseconds():
    now = 1_764_000_000.0019
    stamp = Stamp(lambda: now)
    assert stamp.now() == "2025-11-24T16:00:00.001Z"
    now = 1_764_000_000.0011  # the same millisecond
    assert stamp.now() == "2025-11-24T16:00:00.001Z"
    now = 1_764_000_000.9999
    assert stamp.now() == "2025-11-24T16:00:00.999Z"
    now = 1_764_000_001.0
    assert stamp.now() == "2025-11-24T16:00:01.000Z"
    now = 1_763_999_999.5  # the clock was set back
    assert stamp.now() == "2025-11-24T15:59:59.500Z"
