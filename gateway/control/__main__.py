"""`python -m gateway.control`: the control process of a gateway, started by its supervisor."""

from gateway.control.process import main

main()
