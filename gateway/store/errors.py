"""What can go wrong between us and the store.

    StoreError
    ├── StoreAway        no answer: not connected, too slow, or known to be away
    └── StoreReplyError  an answer, and it is an error

No message ever carries the URL's user or password.
"""

from __future__ import annotations


class StoreError(Exception):
    """A call to the store failed."""


class StoreAway(StoreError):
    """The store did not answer. A call that had left already may have run: it is never sent twice."""


class StoreReplyError(StoreError):
    """The store answered with an error; `code` is its first word, such as `WRONGTYPE` or `NOSCRIPT`."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message.partition(" ")[0]


def is_unknown_script(error: Exception) -> bool:
    """The server did not run a call of a script, as it does not know its text."""
    return isinstance(error, StoreReplyError) and error.code == "NOSCRIPT"
