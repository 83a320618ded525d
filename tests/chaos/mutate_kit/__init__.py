"""Requests and streams with damage in them, made from a seed, and what plays and judges them.

`bodies.py` and `streams.py` say what is damaged, `damage.py` how; `upstream.py` plays the streams, and
`client.py` reads what the gateway makes of them. Start with `tests/chaos/mutate.py`.
"""
