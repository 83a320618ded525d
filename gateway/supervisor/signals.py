"""The signals that mean something to a supervisor."""

import signal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def hold_back() -> None:
    """Keep these from this process, over an `exec` too, until the supervisor can take them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
