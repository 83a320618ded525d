"""Noticing that the configuration file has changed, whoever writes it and however.

Editors rename a new file over the old one, Kubernetes swaps a symlink above it, `cp` leaves it half written
for a moment, and some file systems keep times too coarse to trust. So the content itself is looked at, and it
counts once two looks in a row agree.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.5


def fingerprint(path: Path) -> str | None:
    """SHA-256 of the file's content, through all symlinks; None while it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


@dataclass(slots=True)
class Sightings:
    """Decides from what is seen whether there is a new, settled content.

    Args:
        known: fingerprint of the content that was last acted on, good or bad.
    """

    known: str | None
    _candidate: str | None = None

    def see(self, seen: str | None) -> bool:
        """True once a content other than the known one was seen twice in a row; a missing file is none."""
        if seen is None or seen == self.known:
            self._candidate = None
            return False
        if seen != self._candidate:
            self._candidate = seen
            return False
        self._candidate = None
        return True
