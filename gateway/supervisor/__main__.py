"""`python -m gateway.supervisor SPEC`: what `tunegate serve` becomes."""

import signal
import sys
from pathlib import Path

# Held back until the supervisor can stop in good order; before that a signal would just end the process.
signal.pthread_sigmask(
    signal.SIG_BLOCK,
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2},
)

from gateway.supervisor.main import main  # noqa: E402 - its imports take most of the start

sys.exit(main(Path(sys.argv[1])))
