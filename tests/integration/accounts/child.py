"""A process that fires calls at one key when it is told to, and tells how each was answered.

Arguments: the server's URL and its own name. Each line it reads is an order as JSON, each line it writes is
the answer: to `{"calls", "admission"}` a pair of admitted or not and `at_ms` for each call, all of them at
once; to `{"cost"}` how each call that is open was settled.
"""

import asyncio
import json
import sys

import msgspec

from gateway.limits.values import Admission, Admitted, Stale
from gateway.store.accounts import AccountStore
from gateway.store.client import Store
from tests.integration.accounts.made import settlement


class Child:
    """Its open calls, and when each was admitted."""

    def __init__(self, accounts: AccountStore, name: str) -> None:
        self.accounts = accounts
        self.name = name
        self.open: list[tuple[Admission, int]] = []

    async def fire(self, given: Admission, calls: int) -> list[tuple[bool, int]]:
        asked = [
            msgspec.structs.replace(
                given, request_id=f"{given.request_id}-{self.name}-{n}", process=self.name
            )
            for n in range(calls)
        ]
        fates = []
        for each, verdict in zip(asked, await asyncio.gather(*map(self.accounts.admit, asked)), strict=True):
            assert not isinstance(verdict, Stale)
            is_admitted = isinstance(verdict, Admitted)
            fates.append((is_admitted, verdict.at_ms))
            if is_admitted:
                self.open.append((each, verdict.at_ms))
        return fates

    async def settle(self, cost: int) -> list[str]:
        ended = [
            settlement(each.request_id, key_id=each.key_id, admitted_ms=at_ms, cost=cost)
            for each, at_ms in self.open
        ]
        self.open = []
        return await asyncio.gather(*map(self.accounts.settle, ended))


async def main(url: str, name: str) -> None:
    store = Store(url, timeout_s=30)
    await store.open()
    child = Child(AccountStore(store), name)
    tell("ready")
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        if "cost" in order:
            tell(await child.settle(order["cost"]))
        else:
            tell(await child.fire(msgspec.convert(order["admission"], Admission), order["calls"]))
    await store.aclose()


def tell(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
