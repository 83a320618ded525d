"""Limits of a virtual key: requests and tokens a minute, calls at once, budget and credit.

What is asked and answered is in `values.py`, the arithmetic of the leaky bucket in `bucket.py`, what a
request may cost at most in `estimate.py`, what callers are told in `headers.py`. `local.py` limits while the
store is away. The store's scripts do the same arithmetic where all processes meet; a property test holds them
equal to `bucket.py`. Nothing here is awaited, nothing knows the store, and money is only compared, not
computed: that is `pricing/`.
Read `values.py` first, then `bucket.py`.
"""
