"""`python -m gateway.worker`: a worker of a gateway, started by its supervisor."""

from gateway.process import import_quickly

import_quickly("rich")  # structlog would colour what is for a terminal

from gateway.worker.process import main  # noqa: E402  # its imports take most of the start

main()
