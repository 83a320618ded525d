"""Attempts: calls of upstreams in the plan's order, until one commits.

What is tried next is decided in `gateway.routing.course`, without I/O; here it is waited for and done.
Read `runner.py` first.
"""
