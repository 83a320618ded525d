"""The parent of a gateway's processes: it owns sockets and embedded store, and restarts what dies.

It serves no request and reads no configuration: `tunegate serve` validates the file and hands over a
small JSON `spec`. Standard library only, and little of it, because this process lives as long as the
gateway does and must have no reason to fail. Read `main.py` first: start, signals and stop stand there.
"""
