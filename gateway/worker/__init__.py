"""A data-plane worker process; the control plane is another one, and nothing of it is imported here.

It serves what `gateway/app.py` puts together. Read `process.py`: start, signals and drain stand there.
"""
