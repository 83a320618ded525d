"""The scripts of the accounts, each put together from the parts they share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import resources

from gateway.store.scripts import Script

_PARTS = ("numbers", "leases", "bucket", "calendar")


@dataclass(frozen=True, slots=True)
class AccountScripts:
    """One script for each thing that is done to an account; the names are those of the files."""

    admit: Script
    settle: Script
    renew: Script
    overdue: Script
    credit: Script
    account: Script
    beat: Script

    @classmethod
    def load(cls, clock: str | None = None) -> AccountScripts:
        """Read them from `lua/`. `clock` is Lua that takes the place of `parts/clock.lua`, for tests."""
        told = clock if clock is not None else _text("parts/clock")
        parts = [_text("parts/names"), told, *(_text(f"parts/{name}") for name in _PARTS)]
        return cls(*(Script.of(each.name, "\n".join([*parts, _text(each.name)])) for each in fields(cls)))


def _text(name: str) -> str:
    return resources.files(__package__).joinpath("lua", f"{name}.lua").read_text("utf-8")
