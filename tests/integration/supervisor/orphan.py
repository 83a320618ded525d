"""A parent that starts a foreign program which would live long, tells its pid, and waits to be killed.

As on a system whose kernel does not signal the children of the dead, if the argument is "shell".
"""

import asyncio
import sys

from gateway.supervisor.processes import Processes


async def main() -> None:
    processes = Processes(kernel_tie=sys.argv[1] == "kernel")
    started = processes.start("sleeper", ["sleep", "600"], foreign=True)
    sys.stdout.write(f"{started.pid}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


asyncio.run(main())
