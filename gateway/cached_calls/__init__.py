"""Calls of targets whose answers are kept: taken from the cache, shared in flight, or made and kept.

    look -- an entry: replay it                                                  hit
      |---- a flight of another caller: follow it, from its first event         shared
      |---- nothing: make the call, for all who come meanwhile, and keep it     miss
      `---- not cacheable: make the call for this caller alone                  bypass

Hits and followers are admitted like every request, but hold no tokens and no money. Whatever the cache's
store does not do is a miss: nothing else changes. The rules are those of `gateway/cache/`; here is what waits
for a store, a client or an upstream. Read `service.py` first.
"""

from gateway.cached_calls.service import CachedCalls
from gateway.cached_calls.work import FreeHold, Pipeline, Work

__all__ = ["CachedCalls", "FreeHold", "Pipeline", "Work"]
