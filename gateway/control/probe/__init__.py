"""Finds out what a compatible endpoint does not take, by asking it: a few cheap calls, each odd in one way.

Read `questions.py` first: what is asked, and which setting a refusal stands for. `asking.py` makes a call and
says whether it was taken, `probe.py` asks everything, `findings.py` has what comes of it.
"""
