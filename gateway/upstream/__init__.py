"""Calling upstreams: one transport port, two ways to carry it, one adapter a kind of upstream.

`port.py` is the contract between the pipeline and any transport. `http1/` is our own fast client
(callback driven, on httptools), `via_httpx.py` the second implementation for egress proxies and
HTTP/2-only hosts. Foreign exceptions become `AttemptFailed` here and nowhere else.
This room does not choose where a call goes (`routing/`) and does not read the answer (`relay/`).
"""
