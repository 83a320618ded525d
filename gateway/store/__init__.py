"""The store: one Redis-protocol server (Valkey, Redis), how to speak to it, and every name kept in it.

`Store` (client.py) is what the other rooms are given. Below it, `lane.py` keeps one connection alive and
gathers all calls of a loop tick into one write, `wire.py` turns that connection's bytes into replies, and
`address.py` reads URLs. `keys.py` names every key, `lua/` holds the scripts, `scripts.py` loads them; the
`*_repository.py` files are the typed wrappers. No rule lives here: what a limit or a budget means is decided
in the rooms that ask. Pub/sub, blocking commands and transactions by `MULTI` are not spoken: one connection
is shared by all calls, and a script does what a transaction would.
Read `client.py` first, then `lane.py`.
"""
