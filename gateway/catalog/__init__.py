"""What a name means: aliases, models and the upstreams that may serve them.

A `Catalogue` is one immutable snapshot, made from the configuration, the aliases of the control plane
and what upstreams say they serve. `catalogue.py` answers questions, `build.py` makes a snapshot,
`rewrite.py` changes a body for a model, `shutdown.py` knows when one ends, also by the dated table
`retirements.json`. Nothing here is awaited, and nothing here chooses an order by
health (`routing/`). Read `catalogue.py` first.
"""

from gateway.catalog.build import build
from gateway.catalog.catalogue import Catalogue, StoredAlias

__all__ = ["Catalogue", "StoredAlias", "build"]
