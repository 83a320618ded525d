"""The values that every room speaks: a call, who makes it, where it may go, what came of it.

Frozen dataclasses without behaviour beyond questions about themselves, and the tree of errors.
It imports nothing of ours and does no I/O. Read `call.py` first, then `plan.py` and `errors.py`.
"""
