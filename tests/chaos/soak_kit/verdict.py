"""What a run showed, and whether that is good."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

MOST_GROWTH_MIB = 2.0
MOST_FILES_MORE = 8
"""Idle connections that a pool keeps for a while."""


@dataclass
class Verdict:
    """What is left of a run.

    Args:
        growth_mib: of each of the gateway's own processes, over the last part of the run.
        files: open files of each process before the load, and once it was over.
        audit: what `tunegate ledger audit` said, and its exit code.
    """

    minutes: float
    window_minutes: float
    peak_per_s: float
    rate_per_s: float
    calls: dict[str, int]
    faults: dict[str, int]
    growth_mib: dict[str, float]
    store_mib: tuple[float, float]
    files: dict[str, tuple[int, int]]
    open_reservations: int
    journals_left: int
    audit: str
    audit_exit: int
    died: list[str]
    complaints: list[str] = field(default_factory=list)

    @property
    def figures(self) -> dict[str, Any]:
        """For one line of JSON."""
        return asdict(self)

    @property
    def wrongs(self) -> list[str]:
        """What should not be."""
        found = [
            f"{name} grew by {grown} MiB"
            for name, grown in self.growth_mib.items()
            if grown >= MOST_GROWTH_MIB
        ]
        found += [
            f"{name} has {after} files open, {before} before"
            for name, (before, after) in self.files.items()
            if after > before + MOST_FILES_MORE
        ]
        if self.open_reservations or self.journals_left:
            found.append(f"{self.open_reservations} reservations open, {self.journals_left} journals left")
        if self.audit_exit:
            found.append(f"the audit: {self.audit}")
        found += [f"{name} died" for name in self.died]
        found += [f"{count} calls: {name}" for name, count in self.calls.items() if name.startswith("500")]
        return found + [f"log: {line}" for line in self.complaints]
