"""What the gateway tells of itself: metrics and logs.

`metrics.py` is the one place where a metric's name, labels, buckets and meaning stand. A worker counts in
`counters.py`, cheaply; the control process adds up what the workers report and renders it in
`exposition.py`. `logs.py` sets up the process's log, one JSON object a line on standard error;
`access_log.py` writes a line for every request by way of `line_writer.py`, which never blocks. `tracing.py`
begins traces and hands finished requests to a thread, where `otlp.py` makes spans of them; the latter alone
imports OpenTelemetry. `docs.py` writes docs/metrics.md.
This room decides nothing and measures no time: others call it with facts. Read `metrics.py` first.
"""
