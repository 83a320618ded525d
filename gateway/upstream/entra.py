"""Tokens of Microsoft Entra: fetched and renewed beside the calls, which only read the one that holds.

Whose identity it is (a managed one, a workload's, that of `AZURE_CLIENT_ID` and its kin) is found by
azure-identity, the extra `azure`. It blocks, so it works in threads. A token is never logged.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, overload

import structlog

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream.hidden import Hidden

log = structlog.get_logger(__name__)

Headers = tuple[tuple[bytes, bytes], ...]

RENEWED_BEFORE_S = 300.0
"""A token is renewed so long before its end, or at half its life where that is shorter."""
AGAIN_S = 10.0
"""After a failure."""
_MOST_WORDS = 300


class AccessToken(Protocol):
    """What azure-identity answers."""

    @property
    def token(self) -> str:
        """The token."""

    @property
    def expires_on(self) -> int:
        """Unix seconds."""


class Credential(Protocol):
    """One of azure-identity's credentials."""

    def get_token(self, *scopes: str) -> AccessToken:
        """A token for a scope. Blocks; raises where there is none to be had."""

    def close(self) -> None:
        """Let go of connections."""


def default_credential() -> Credential:
    """The identity that this machine has. Blocks; raises `ImportError` without the extra `azure`."""
    made: Credential = importlib.import_module("azure.identity").DefaultAzureCredential()
    return made


class Token:
    """The token of one scope, as it stands now."""

    def __init__(self, scope: str, clock: Callable[[], float]) -> None:
        self.scope = scope
        self._clock = clock
        self._text = ""
        self._ends_at = 0.0

    def put(self, found: AccessToken) -> None:
        """From now on this one."""
        self._text, self._ends_at = found.token, float(found.expires_on)

    def read(self) -> str:
        """The token. Raises `AttemptFailed` (`connect`, so that calls move on) where none holds."""
        if self._clock() >= self._ends_at:
            raise AttemptFailed(FailureClass.CONNECT, f"no Entra token for {self.scope} is at hand")
        return self._text

    def renew_in_s(self) -> float:
        """Seconds until it should be renewed."""
        left = self._ends_at - self._clock()
        return max(1.0, left - RENEWED_BEFORE_S if left > 2 * RENEWED_BEFORE_S else left / 2)


class EntraHeaders(Sequence[Headers]):
    """The one set of headers of an upstream whose credential is a token: it changes as the token does.

    Args:
        common: the other headers.
        hidden: told of each token, so that no answer can give it away.
    """

    def __init__(self, token: Token, common: Headers, hidden: Hidden) -> None:
        self._token = token
        self._common = common
        self._hidden = hidden
        self._made_of = ""
        self._made: Headers = ()

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Headers]:
        yield self[0]

    @overload
    def __getitem__(self, index: int) -> Headers: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Headers]: ...
    def __getitem__(self, index: int | slice) -> Headers | Sequence[Headers]:
        """The headers now. Raises `AttemptFailed` where no token holds."""
        text = self._token.read()
        if text != self._made_of:  # the same tuple as long as it holds: transports remember heads by it
            self._hidden.also(text)
            self._made_of = text
            self._made = (*self._common, (b"authorization", b"Bearer " + text.encode()))
        return (self._made,)[index]


class EntraTokens:
    """The tokens of one process.

    Constructing and `token` do no I/O. What is asked for before `open` is fetched there, later at once.

    Args:
        make_credential: called once, in a thread; by default the machine's own identity.
        clock: unix seconds.
        on_failure: told the scope and why there is no token; logs it by default.
    """

    def __init__(
        self,
        make_credential: Callable[[], Credential] | None = None,
        clock: Callable[[], float] = time.time,
        on_failure: Callable[[str, str], None] | None = None,
    ) -> None:
        self._make_credential = make_credential or default_credential
        self._clock = clock
        self._on_failure = on_failure or _log_failure
        self._credential: Credential | None = None
        self._making = asyncio.Lock()
        self._tokens: dict[str, Token] = {}
        self._first: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = False

    def token(self, scope: str) -> Token:
        """The token of a scope, kept fresh for as long as the process lives."""
        found = self._tokens.get(scope)
        if found is None:
            found = self._tokens[scope] = Token(scope, self._clock)
            self._first[scope] = asyncio.Event()
            if self._is_open:
                self._keep_fresh(found)
        return found

    async def open(self, within_s: float) -> None:
        """Fetch what was asked for; waits so long at most, and goes on trying beside the calls."""
        self._is_open = True
        for token in self._tokens.values():
            self._keep_fresh(token)
        await self.first(within_s)

    async def first(self, within_s: float) -> None:
        """Wait until there is a token of every scope that was asked for, so long at most."""
        waits = [asyncio.create_task(event.wait()) for event in self._first.values()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=within_s)
            for task in late:
                task.cancel()

    async def aclose(self) -> None:
        """Fetch nothing more."""
        self._is_open = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._credential is not None:
            await asyncio.to_thread(self._credential.close)

    def _keep_fresh(self, token: Token) -> None:
        task = asyncio.get_running_loop().create_task(self._renew(token))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _renew(self, token: Token) -> None:
        while True:
            try:
                token.put(await self._fetch(token.scope))
                wait_s = token.renew_in_s()
                self._first[token.scope].set()
            except Exception as error:  # noqa: BLE001  # it asks files, programs and hosts of many kinds
                wait_s = AGAIN_S
                self._on_failure(token.scope, _words_of(error))
            await asyncio.sleep(wait_s)

    async def _fetch(self, scope: str) -> AccessToken:
        async with self._making:
            if self._credential is None:
                self._credential = await asyncio.to_thread(self._make_credential)
        return await asyncio.to_thread(self._credential.get_token, scope)


def _log_failure(scope: str, why: str) -> None:
    log.warning("no Entra token", scope=scope, why=why)


def _words_of(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:_MOST_WORDS]}"
