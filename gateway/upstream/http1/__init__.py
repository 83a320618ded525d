"""Our own HTTP/1.1 client: pooled, callback driven, one task switch per request.

A request is one write; the answer is parsed where it is read, and its body goes from the socket's callback
straight into the pipeline's sink. Nothing here knows what the bytes mean, retries a request that an upstream
may have seen, follows a redirect or decodes a content encoding.

Read `transport.py` first (the life of a request), then `connection.py` (one socket) and `response_parser.py`
(the protocol, without I/O). `dialer.py` opens sockets, `pool.py` keeps the idle ones, `deadlines.py` has
the timeouts.
"""
