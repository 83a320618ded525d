"""The store (Valkey, Redis): one server, a pair behind sentinels or a cluster, and every name kept in it.

`Store` (client.py) is what the other rooms are given. Below it, `lane.py` keeps one connection to one server
alive and gathers all calls of a loop tick into one write, `greeting.py` opens it, `wire.py` turns its bytes
into replies, and `address.py` reads URLs. `sentinel.py` finds the server to connect to. On a cluster
`topology.py` has a lane to each node, `cluster.py` sends calls where they belong, and `slots.py` reads what
nodes say about that. `replicated.py` has lanes whose calls count only once replicas have them. `keys.py`
names every key, `lua/` holds the scripts, `scripts.py` loads them; the `*_repository.py` files are the typed
wrappers. No rule lives here: what a limit or a budget means is decided in the rooms that ask. Pub/sub,
transactions by `MULTI` and, but for WAIT on lanes of its own, blocking commands are not spoken: one
connection is shared by all calls, and a script does what a transaction would.
Read `client.py` first, then `lane.py`.
"""
