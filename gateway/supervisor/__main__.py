"""`python -m gateway.supervisor SPEC`: what `tunegate serve` becomes."""

import sys
from pathlib import Path

from gateway.supervisor.signals import hold_back

hold_back()  # until it can stop in good order; before that a signal would just end the process

from gateway.supervisor.main import main  # noqa: E402 - its imports take most of the start

sys.exit(main(Path(sys.argv[1])))
