"""Tokens come and are renewed beside the calls, and show nowhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream import entra
from gateway.upstream.entra import EntraHeaders, EntraTokens
from gateway.upstream.hidden import Hidden
from tests.support.polling import until

SCOPE = "https://cognitiveservices.azure.com/.default"
COMMON = ((b"content-type", b"application/json"),)


@dataclass
class _Token:
    token: str
    expires_on: int


class FakeCredential:
    """Gives out `token-1`, `token-2`, ... that hold for an hour from `now`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.given = 0
        self.fails = False
        self.is_closed = False
        self.threads: set[str] = set()

    def get_token(self, *scopes: str) -> _Token:
        self.threads.add(threading.current_thread().name)
        if self.fails:
            raise RuntimeError("no identity here\nand a long story of each place")
        self.given += 1
        return _Token(f"secret-token-{self.given}-of-{scopes[0]}", int(self.now) + 3600)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def credential() -> FakeCredential:
    return FakeCredential()


@pytest.fixture
def tokens(credential: FakeCredential) -> EntraTokens:
    return EntraTokens(lambda: credential, lambda: credential.now)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Waits end at once: which ones were waited for stands in the test's own clock."""
    sleep = asyncio.sleep

    async def no_sleep(_: float) -> None:
        await sleep(0)

    return lambda: monkeypatch.setattr(entra.asyncio, "sleep", no_sleep)


async def test_a_token_is_there_when_it_is_open(tokens: EntraTokens, credential: FakeCredential) -> None:
    headers = EntraHeaders(tokens.token(SCOPE), COMMON, Hidden())
    assert credential.given == 0, "constructing fetches nothing"
    await tokens.open(5)
    assert headers[0] == (*COMMON, (b"authorization", f"Bearer secret-token-1-of-{SCOPE}".encode()))
    assert headers[0] is headers[0], "transports remember heads by their tuple"
    assert list(headers) == [headers[0]]
    assert len(headers) == 1
    await tokens.aclose()
    assert credential.is_closed


async def test_the_loop_never_waits_for_it(tokens: EntraTokens, credential: FakeCredential) -> None:
    tokens.token(SCOPE)
    await tokens.open(5)
    assert threading.current_thread().name not in credential.threads
    await tokens.aclose()


async def test_one_token_for_all_upstreams_of_a_scope(
    tokens: EntraTokens, credential: FakeCredential
) -> None:
    assert tokens.token(SCOPE) is tokens.token(SCOPE)
    await tokens.open(5)
    other = tokens.token("https://other/.default")  # a reload brings another one
    await until(lambda: credential.given == 2, "the other token")
    assert other is not tokens.token(SCOPE)
    await tokens.first(5)
    assert other.read().endswith("https://other/.default")
    await tokens.aclose()


@pytest.mark.parametrize(("ends_in_s", "renewed_in_s"), [(3600, 3300), (500, 250), (1, 1), (-5, 1)])
def test_it_is_renewed_in_time(tokens: EntraTokens, ends_in_s: int, renewed_in_s: float) -> None:
    token = tokens.token(SCOPE)
    token.put(_Token("t", 1000 + ends_in_s))
    assert token.renew_in_s() == renewed_in_s


async def test_renewed_ones_take_over(
    tokens: EntraTokens, credential: FakeCredential, quickly: Callable[[], None]
) -> None:
    headers = EntraHeaders(tokens.token(SCOPE), COMMON, Hidden())
    quickly()
    await tokens.open(5)
    await until(lambda: credential.given >= 3, "two renewals")
    await until(lambda: b"secret-token-1-" not in headers[0][-1][1], "another token")
    await tokens.aclose()


async def test_without_one_a_call_moves_on(tokens: EntraTokens, credential: FakeCredential) -> None:
    credential.fails = True
    headers = EntraHeaders(tokens.token(SCOPE), COMMON, Hidden())
    with capture_logs() as logs:
        await tokens.open(0.05)
        await until(lambda: logs, "the log")
    with pytest.raises(AttemptFailed) as failed:
        headers[0]
    assert failed.value.failure is FailureClass.CONNECT
    assert logs[0]["why"] == "RuntimeError: no identity here"
    await tokens.aclose()


async def test_one_that_has_ended_is_not_sent(tokens: EntraTokens, credential: FakeCredential) -> None:
    headers = EntraHeaders(tokens.token(SCOPE), COMMON, Hidden())
    await tokens.open(5)
    credential.now += 3599
    assert headers[0]
    credential.now += 1
    with pytest.raises(AttemptFailed, match="no Entra token"):
        headers[0]
    await tokens.aclose()


async def test_an_answer_cannot_give_it_away(tokens: EntraTokens, credential: FakeCredential) -> None:
    hidden = Hidden(["a-key-of-its-own"])
    token = tokens.token(SCOPE)
    headers = EntraHeaders(token, COMMON, hidden)
    for number in (1, 2):
        token.put(_Token(f"secret-token-{number}{number}{number}{number}-abcdefgh", 5000))
        headers[0]
    shown = hidden.hide(
        "sent secret-token-2222-abcdefgh, before secret-token-1111-abcdefgh, a-key-of-its-own"
    )
    assert shown == "sent ***, before ***, ***"
