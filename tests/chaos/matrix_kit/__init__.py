"""What the fault matrix is made of: a stage with real processes, a client that speaks bytes, expectations.

The cases are in `matrix_cases/`, one module a family; `case.py` says what a case is, `stage.py` what it plays
on, `play.py` how it is judged, `page.py` how it is shown. `python3 dev.py chaos matrix` runs them all.
"""
