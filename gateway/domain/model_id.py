"""Fine-tuned model ids, read as data.

Ids are opaque on their way: never lower-cased, never changed. What can be read out of one is read
from left to right, since a checkpoint adds a part at the right.

    ft:{base}:{org}:{suffix}:{uid}                final model (suffix may be empty)
    ft:{base}:{org}:{suffix}:{uid}:{checkpoint}   a checkpoint of it
    ft:{base}:{org}:{name}                        short form
    {base}:ft-{org}[:{suffix}]-YYYY-MM-DD-...     legacy, off since 2024-01-04
    {base}.ft-{32 hex}                            Azure job result
    anything else                                 opaque, tells nothing
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

_AZURE = re.compile(r"^(.+)\.ft-[0-9a-f]{32}")
_LEGACY_ORG = re.compile(r"^ft-(.+?)(?::.*)?-\d{4}(?:-\d{2}){5}$", re.DOTALL)


class ModelKind(StrEnum):
    """Which form an id has."""

    OFFICIAL = "official"
    LEGACY = "legacy"
    AZURE = "azure"
    OPAQUE = "opaque"


@dataclass(frozen=True, slots=True)
class ModelId:
    """A model id and what it says about itself; `None` where it says nothing."""

    text: str
    kind: ModelKind
    base: str | None = None
    org: str | None = None
    suffix: str | None = None
    uid: str | None = None
    checkpoint: str | None = None

    @property
    def is_fine_tuned(self) -> bool:
        """True where the form of the id itself says that it is a fine-tune."""
        return self.kind is not ModelKind.OPAQUE

    @property
    def needs_owner(self) -> bool:
        """True for ids that belong to one organisation: only upstreams that own it may serve them."""
        return self.text.startswith("ft:")

    def is_owned_by(self, owns: Sequence[str]) -> bool:
        """True where `owns`, an upstream's list of organisation segments ("*" is all), covers this id."""
        return "*" in owns or (self.org is not None and self.org in owns)


@lru_cache(maxsize=4096)
def parse_model_id(text: str) -> ModelId:
    """Read a model id. Never fails: what does not parse is opaque."""
    if text.startswith("ft:"):
        parts = text.split(":")
        if len(parts) < 2 or not parts[1]:
            return ModelId(text, ModelKind.OPAQUE)
        rest = [part or None for part in parts[2:6]] + [None] * 4
        if len(parts) == 4:  # ft:gpt-4o:org:name, the name is no uid
            return ModelId(text, ModelKind.OFFICIAL, parts[1], rest[0], rest[1])
        return ModelId(text, ModelKind.OFFICIAL, parts[1], *rest[:4])
    base, separator, tail = text.partition(":")
    if separator and base and tail.startswith("ft-"):
        found = _LEGACY_ORG.match(tail)
        return ModelId(text, ModelKind.LEGACY, base, found[1] if found else None)
    azure = _AZURE.match(text)
    if azure:
        return ModelId(text, ModelKind.AZURE, azure[1])
    return ModelId(text, ModelKind.OPAQUE)
