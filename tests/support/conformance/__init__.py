"""One suite for every kind of upstream: `table.py` says which checks there are and where one does not apply,
`checks.py` holds them, `subjects.py` and the doubles beside it what they are run against."""
