import asyncio
import socket
from typing import Any, cast

import pytest

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream.port import Origin
from gateway.upstream.resolver import Resolver


class Names:
    """The part of a loop that resolving needs."""

    def __init__(self, *addresses: str, error: Exception | None = None) -> None:
        self.asked: list[str] = []
        self._addresses = addresses
        self._error = error

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        if self._error is not None:
            raise self._error
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in self._addresses]

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return cast("asyncio.AbstractEventLoop", self)


def origin(host: str, *, allow_private: bool = True) -> Origin:
    return Origin("https", host, 443, allow_private)


async def test_a_name_gives_its_addresses_in_order_and_once() -> None:
    names = Names("2606:4700::1", "1.1.1.1", "2606:4700::1")
    assert await Resolver().resolve(names.loop, origin("api.test")) == ["2606:4700::1", "1.1.1.1"]


async def test_an_address_is_not_looked_up() -> None:
    names = Names()
    assert await Resolver().resolve(names.loop, origin("10.0.0.1")) == ["10.0.0.1"]
    assert names.asked == []


async def test_refused_addresses_are_left_out_while_others_remain() -> None:
    names = Names("10.0.0.1", "1.1.1.1", "169.254.169.254")
    assert await Resolver().resolve(names.loop, origin("api.test", allow_private=False)) == ["1.1.1.1"]
    assert await Resolver().resolve(names.loop, origin("api.test")) == ["10.0.0.1", "1.1.1.1"]


async def test_a_name_with_refused_addresses_only_is_refused_with_the_first_reason() -> None:
    names = Names("10.0.0.1", "169.254.169.254")
    with pytest.raises(AttemptFailed) as caught:
        await Resolver().resolve(names.loop, origin("api.test", allow_private=False))
    assert caught.value.failure is FailureClass.CONNECT
    assert str(caught.value) == (
        "connection to api.test refused by the gateway: 10.0.0.1 is a private or reserved address"
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (OSError(), "no such host"),
        (UnicodeError("label too long"), "not a host name"),
    ],
)
async def test_an_unknown_name_is_a_failure_to_connect(error: Exception, reason: str) -> None:
    with pytest.raises(AttemptFailed) as caught:
        await Resolver().resolve(Names(error=error).loop, origin("api.test"))
    assert caught.value.failure is FailureClass.CONNECT
    assert str(caught.value) == f"cannot resolve api.test: {reason}"


class SlowNames(Names):
    """Answers when it is told to."""

    def __init__(self, *addresses: str, error: Exception | None = None) -> None:
        super().__init__(*addresses, error=error)
        self.answers = asyncio.Event()

    async def getaddrinfo(self, host: str, port: int, **named: Any) -> list[Any]:
        self.asked.append(host)
        await self.answers.wait()
        self.asked.pop()
        return await super().getaddrinfo(host, port, **named)


async def test_a_name_is_looked_up_once_for_all_who_wait_for_it() -> None:
    names, resolver = SlowNames("1.1.1.1"), Resolver()
    waiting = [asyncio.create_task(resolver.resolve(names.loop, origin("api.test"))) for _ in range(3)]
    other = asyncio.create_task(resolver.resolve(names.loop, origin("other.test")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert names.asked == ["api.test", "other.test"]

    waiting[0].cancel()  # one that gives up takes nothing from the others
    names.answers.set()

    assert await asyncio.gather(*waiting[1:], other) == [["1.1.1.1"]] * 3
    assert waiting[0].cancelled()


async def test_it_is_looked_up_again_once_that_is_over() -> None:
    names, resolver = Names("1.1.1.1"), Resolver()
    for _ in range(2):
        assert await resolver.resolve(names.loop, origin("api.test")) == ["1.1.1.1"]
    assert names.asked == ["api.test"] * 2


async def test_a_failure_that_nobody_waits_for_any_more_is_no_news() -> None:
    names, resolver = SlowNames(error=OSError("away")), Resolver()
    waiting = asyncio.create_task(resolver.resolve(names.loop, origin("api.test")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    names.answers.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(AttemptFailed):
        await resolver.resolve(names.loop, origin("api.test"))


async def test_a_transport_that_closes_waits_for_no_name() -> None:
    names, resolver = SlowNames("1.1.1.1"), Resolver()
    waiting = asyncio.create_task(resolver.resolve(names.loop, origin("api.test")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    resolver.close()
    with pytest.raises(AttemptFailed, match="the gateway is stopping"):
        await waiting
