"""Virtual keys: what one looks like, what is stored of it, who it makes of its bearer.

Only an HMAC of a key is ever stored. Read `virtual_key.py` first (text and digests, pure), then `record.py`
(the stored document and the `Principal` in it) and `keyring.py` (the data plane's cache of records).
This room does not issue keys, that is `control/`, nor judge what a call may spend, that is `limits/`.
"""
