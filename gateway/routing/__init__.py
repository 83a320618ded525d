"""Pure policy: in which order the candidates of a call are tried.

`planner.py` is the whole decision and does no I/O; `health.py` is what it knows of upstreams;
`explain.py` renders the decision for people. It neither finds candidates (`catalog/`) nor calls
anyone (`upstream/`). Read `planner.py` first.
"""
