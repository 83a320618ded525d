"""Which calls may share an answer, under which key, and how a kept answer leaves again.

Values in, values out: this room does no I/O and knows no socket; what it needs of a store is `port.py`. An
answer is found only by a key of which the tenant's scope is a part (`scope.py`, `key.py`). Which calls and
answers qualify is in `rules.py`, which bodies are equal in `canonical.py`, what is kept in `entry.py`, and
how it becomes JSON or a stream again in `replay.py`. Read `key.py` first.
"""
