"""What a call costs its key: admitted before it runs, settled before its last byte leaves.

`desk.py` admits calls (and knows what to do while the store is away), `hold.py` is one call: what it asks,
what it holds and its one settlement. `terms.py` is what many calls ask in common, `quote.py` says what a call
may cost at most, `bill.py` turns what happened into the one ledger record. The arithmetic is in `limits/` and
`pricing/`, the keeping of records in `metering/`. Read `desk.py` first.
"""
