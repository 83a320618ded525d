"""What a probe found, as the control plane shows it, and the lines to write into the configuration."""

from __future__ import annotations

from typing import Any, Literal

import yaml
from pydantic import BaseModel

from gateway.config.upstream import UpstreamSettings


class ShownFinding(BaseModel):
    """A quirk: `setting` of the upstream should have `value`; `is_set` where it has already."""

    setting: str
    value: Any
    says: str
    is_set: bool


class ShownUnknown(BaseModel):
    """What could not be found out, and why."""

    setting: str
    why: str


class ShownCost(BaseModel):
    """Calls and tokens. The cost is null where the price or the usage is unknown."""

    calls: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: str | None
    cost_nanousd: int | None


class ShownProbe(BaseModel):
    """A probe. `estimate` is the most it takes; the rest is there once it was made.

    `yaml` holds the lines to write into the file, and is empty where there are none.
    """

    object: Literal["upstream.probe"] = "upstream.probe"
    upstream: str
    model: str
    estimate: ShownCost
    spent: ShownCost | None = None
    findings: list[ShownFinding] = []
    unknown: list[ShownUnknown] = []
    notes: list[str] = []
    settings: dict[str, Any] = {}
    yaml: str = ""


class Findings:
    """Gathers what is found of one upstream."""

    def __init__(self, upstream: UpstreamSettings) -> None:
        self._upstream = upstream
        self._says: dict[tuple[str, str], str] = {}
        self.settings: dict[str, Any] = {}
        self.unknown: list[ShownUnknown] = []
        self.notes: list[str] = []

    def add(self, setting: str, value: Any, says: str) -> None:
        """A setting that it needs; names of fields gather in a list."""
        name, _, quirk = setting.partition(".")
        if not quirk:
            self.settings[name] = value
        elif quirk == "refuses":
            self.settings.setdefault(name, {}).setdefault(quirk, []).append(value)
        else:
            self.settings.setdefault(name, {})[quirk] = value
        self._says[setting, str(value)] = says

    def leave_open(self, setting: str, why: str) -> None:
        """Something that could not be found out."""
        self.unknown.append(ShownUnknown(setting=setting, why=why))

    def shown(self) -> list[ShownFinding]:
        """In the order in which they were found."""
        found = []
        for (setting, text), says in self._says.items():
            now, wanted = self._now_and_wanted(setting, text)
            found.append(
                ShownFinding(
                    setting=setting,
                    value=wanted,
                    says=says,
                    is_set=text in now if isinstance(now, tuple) else now == wanted,
                )
            )
        return found

    def yaml(self, name: str) -> str:
        """The lines to write, below those of the upstream that are there."""
        if not self.settings:
            return ""
        return yaml.safe_dump({"upstreams": {name: self.settings}}, sort_keys=False)

    def _now_and_wanted(self, setting: str, text: str) -> tuple[Any, Any]:
        name, _, quirk = setting.partition(".")
        if not quirk:
            return getattr(self._upstream, name), self.settings[name]
        wanted = self.settings[name][quirk]
        return getattr(self._upstream.quirks, quirk), text if isinstance(wanted, list) else wanted
