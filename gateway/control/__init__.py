"""The control plane: virtual keys, aliases, configuration, and what the workers are to serve.

One process beside the workers. It answers `/admin/v1/*` and `/metrics`, reads the configuration again when it
changes, keeps aliases as revisions in the store, and pushes each new state to the workers over a unix socket,
which they swap in with one assignment. The data plane never imports this room and serves on without it.
Read `process.py` first (what lives in the process), then `app.py` (its HTTP surface) and `snapshot.py` (what
is pushed).
"""
