"""Scripts that break a running gateway on purpose: `python3 dev.py chaos NAME`; `kit/` is what they share."""
