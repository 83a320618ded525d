"""`python -m gateway.control`: the control process of a gateway, started by its supervisor."""

import signal

# Until the process can reload, a request to do so must not end it: it starts with what is in force anyway.
signal.signal(signal.SIGHUP, signal.SIG_IGN)

from gateway.process import import_quickly  # noqa: E402  # SIGHUP is dealt with first

# structlog would colour what is for a terminal, FastAPI look for models of another age
import_quickly("rich", "pydantic.v1")

from gateway.control.process import main  # noqa: E402  # its imports take most of the start

main()
