"""Metering: every admitted request ends as exactly one ledger record, whatever dies in between.

`Meter` (meter.py) is what the pipeline is given: it settles a request in the store, or in the on-disk
journal where the store does not answer, and keeps the reservations of running requests alive. `journal.py`
with `journal_file.py` and `lines.py` is that journal; `replay.py` brings it back into the store,
`takeover.py` does so for processes that died, `sweeper.py` settles what the dead left without a word, and
`record.py` is what stands in the ledger.
No money is computed here (pricing), no limit decided (limits), and what a settlement moves in the store is
the store's script. Read `record.py` first, then `meter.py`.
"""
