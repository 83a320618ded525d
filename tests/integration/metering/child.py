"""A process that admits requests, settles them when told to, and tells each fate; to be killed.

Arguments: the server's URL, the folder of journals, its name, how many requests, and the bytes that a file
may have (0: any). Its log is written as a worker's is.
"""

import asyncio
import resource
import sys
from pathlib import Path

from gateway.telemetry.logs import configure_logging
from tests.integration.metering.bench import Gateway
from tests.support.polling import until

WAVE = 20


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main(url: str, folder: str, name: str, count: int, file_bytes: int) -> None:
    configure_logging("worker")
    gateway = Gateway(url, Path(folder), name)
    await gateway.open()
    gateway.start_meter()
    ids = [f"{name}_{number}" for number in range(count)]
    admitted = await asyncio.gather(*map(gateway.admit, ids))
    tell("admitted")
    await asyncio.to_thread(sys.stdin.readline)
    if file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))

    async def settle(number: int) -> None:
        fate = await gateway.meter.settle(gateway.settlement(ids[number], admitted[number]))
        tell(f"{ids[number]} {fate}")

    for start in range(0, count, WAVE):
        await asyncio.gather(*map(settle, range(start, min(start + WAVE, count))))
    await until(lambda: gateway.journal.pending == 0, within_s=60)
    tell("replayed")
    await asyncio.Event().wait()


if __name__ == "__main__":
    url, folder, name, count, file_bytes = sys.argv[1:]
    asyncio.run(main(url, folder, name, int(count), int(file_bytes)))
