"""Prices: a dated book of what tokens cost at each upstream, and the pure function from usage to money.

`PriceBook` (book.py) answers what a model costs at an upstream. It looks into the configuration first, then
into our own rows (own_rows.py, every fine-tuned base), then into the data of genai-prices that is bundled
with the package (bundled.py; nothing is ever fetched). `cost` and `bound` (cost.py) make nano-dollars of a
`Price`. What nobody knows is None, never 0.
Budgets, counters and the ledger are elsewhere (limits, metering). Read `book.py` first.
"""
