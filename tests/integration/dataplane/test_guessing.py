"""Many guessed keys from one address: the store is hardly asked, and good keys from there go on."""

import asyncio
import secrets
import time

import httpx2

from gateway.auth.guesses import FREE, PER_TURN, TURN_S
from gateway.auth.virtual_key import format_key, new_key_id, new_secret
from tests.support.gateway import RunningGateway

GUESSERS = 40
FOR_S = 1.0


def guess() -> str:
    return format_key(new_key_id(secrets.token_hex(4), secrets.randbelow), new_secret(secrets.randbelow))


async def ask(http: httpx2.AsyncClient, key: str) -> httpx2.Response:
    return await http.get("/v1/models", headers={"authorization": f"Bearer {key}"})


async def test_guesses_are_slowed_and_good_keys_of_the_same_address_pass(gateway: RunningGateway) -> None:
    known, new = await gateway.new_key(), await gateway.new_key()
    reads: list[float] = []
    source = gateway.worker._keyring._source
    read = source.read

    async def counted(key_id: str) -> object:
        reads.append(time.monotonic())
        return await read(key_id)

    source.read = counted  # type: ignore[assignment, method-assign]  # the same, and it counts
    limits = httpx2.Limits(max_connections=GUESSERS + 4)
    async with httpx2.AsyncClient(
        base_url=gateway.url, limits=limits, trust_env=False, verify=False, timeout=10
    ) as http:
        assert (await ask(http, known)).status_code == 200
        over = asyncio.Event()
        answers: list[httpx2.Response] = []

        async def guess_on() -> None:
            while not over.is_set():
                answers.append(await ask(http, guess()))

        guessing = [asyncio.create_task(guess_on()) for _ in range(GUESSERS)]
        while len(answers) < FREE + GUESSERS:
            await asyncio.sleep(0.01)
        reads.clear()
        began = time.monotonic()
        served = (await ask(http, new)).status_code
        waited_s = time.monotonic() - began
        slowest_s = 0.0
        while time.monotonic() - began < FOR_S:
            asked = time.monotonic()
            assert (await ask(http, known)).status_code == 200
            slowest_s = max(slowest_s, time.monotonic() - asked)
            await asyncio.sleep(0.02)
        over.set()
        await asyncio.gather(*guessing)
        took_s = time.monotonic() - began

    assert served == 200
    assert waited_s < 5  # on a machine that is busy
    assert slowest_s < 3
    assert len(reads) <= (took_s / TURN_S + 2) * PER_TURN
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.json()["error"]["code"] for answer in answers} == {"invalid_api_key"}
    counted_guesses = gateway.worker.counters.totals()["counters"]["tunegate_key_guesses_total"]
    ((labels, count),) = counted_guesses
    assert (*labels,) == ("data",)
    assert count >= GUESSERS
