"""A long run under half the load and with faults: what the processes take meanwhile, and what is left of it.

`load.py` calls, `faults.py` spoils, `watch.py` looks at the processes, `verdict.py` judges what was seen, and
`picture.py` and `page.py` show it. Start with `tests/chaos/soak.py`.
"""
