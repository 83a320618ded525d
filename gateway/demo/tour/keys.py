"""The development keys: made once, kept beside the store they are valid for."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = "dev-keys.json"


@dataclass
class DevelopmentKeys:
    """An admin key and, once it was made, a virtual key."""

    path: Path
    admin: str
    virtual: str | None

    @classmethod
    def load(cls, data_dir: Path, env: Mapping[str, str]) -> DevelopmentKeys:
        """Read the keys of a data folder. `TUNEGATE_ADMIN_KEY`, where it is set, is the admin key."""
        path = data_dir / FILE
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            kept = None
        if not isinstance(kept, dict):
            kept = {}
        admin = env.get("TUNEGATE_ADMIN_KEY") or kept.get("admin_key")
        keys = cls(path, admin or f"tg-admin-{secrets.token_urlsafe(24)}", kept.get("virtual_key"))
        if not admin:
            keys.save(env)
        return keys

    def save(self, env: Mapping[str, str]) -> None:
        """Write them, readable by this user only. An admin key of the environment is not stored."""
        kept = {"virtual_key": self.virtual}
        if not env.get("TUNEGATE_ADMIN_KEY"):
            kept["admin_key"] = self.admin
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(kept, file)
        draft.replace(self.path)
