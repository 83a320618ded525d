"""What the chaos scripts are made of: load, an upstream that keeps a log, a killer, and a checker.

None of it knows what the gateway does inside: the checker joins what its clients saw, what its upstream was
asked and what its ledger says. Read `checker.py` first.
"""
