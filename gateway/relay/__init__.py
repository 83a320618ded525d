"""Streams: from the upstream's bytes to the bytes that leave, without doing any I/O.

`sse.py` cuts bytes into events, `chunk.py` reads the few facts the gateway needs out of an event,
`stream.py` decides what may leave and when a stream is committed, finished or broken, `reply.py` reads a
JSON reply. `pump.py` is the only file that touches a socket's callbacks. Nothing here chooses an upstream
or settles a bill. Read `stream.py` first.
"""
