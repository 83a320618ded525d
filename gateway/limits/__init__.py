"""Limits of a virtual key: requests and tokens a minute, calls at once, budget and credit.

What is asked and answered is in `values.py`, the arithmetic of the leaky bucket in `bucket.py`, what a call
may take at most in `estimate.py`. `headers.py` and `refusal.py` say it to callers, `local.py` limits while
the store is away. Where all processes meet, the store's scripts do the same arithmetic; property tests hold
the two equal. Nothing here is awaited, nothing knows the store, and money is compared, never computed: that
is `pricing/`.
Read `values.py` first, then `bucket.py`.
"""
