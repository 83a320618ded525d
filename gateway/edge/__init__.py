"""The OpenAI surface: connections, routes, bodies in, errors out.

`protocol.py` gives each request an `Exchange` (read the body within bounds, reply, or write a stream by
callback), `head.py` has what it says before its body, `app.py` is the application and its routes,
`request.py` reads bodies and headers, `render.py` holds the one table from errors to status, `type` and
`code`. It decides nothing about models or upstreams (`pipeline.py`). Read `app.py` first.
"""
