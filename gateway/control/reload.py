"""Reading the configuration again: validated once here, then swapped in by every worker of this replica."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
import yaml

from gateway.catalog.advice import advise
from gateway.config import ConfigError, Problem, Settings, load
from gateway.control.active_text import Overrides, with_blocks_of, with_overrides, write_atomically
from gateway.control.difference import differences
from gateway.control.link import WorkerLink
from gateway.control.snapshot import SnapshotKeeper
from gateway.control.watch import POLL_S, Sightings, fingerprint

log = structlog.get_logger(__name__)

SWAP_TIMEOUT_S = 5.0
_STATIC_BLOCKS = ("server", "admin", "store")


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload did. Paths are dotted; `static_ignored` waits for a restart; `workers` have swapped."""

    changed: list[str]
    static_ignored: list[str]
    workers: int


class ConfigReloader:
    """Brings changes of the file into force.

    Args:
        path: the file as the operator named it.
        active_path: where the text in force is kept, for processes that start later.
        overrides: values of the command line, which beat the file's.
        environment: what `${VAR}` stands for.
    """

    def __init__(
        self,
        path: Path,
        active_path: Path,
        overrides: Overrides,
        environment: Mapping[str, str],
        keeper: SnapshotKeeper,
        link: WorkerLink,
    ) -> None:
        self._path = path
        self._active_path = active_path
        self._overrides = overrides
        self._environment = environment
        self._keeper = keeper
        self._link = link
        self._started_with = _kinds_with_a_process(keeper.settings)
        self._sightings = Sightings(known=None)
        self._turn = asyncio.Lock()

    async def reload(self) -> Reloaded:
        """Read the file and put it in force in all workers.

        Raises `ConfigError` where the file is bad: then nothing has changed.
        """
        async with self._turn:
            running = self._keeper.settings
            text = await asyncio.to_thread(self._read)
            settings = self._load(text)
            active = with_overrides(text, self._overrides)
            if self._overrides:
                settings = self._load(active)
            static_ignored = differences(running.static, settings.static)
            if static_ignored:
                active = with_blocks_of(active, self._keeper.text, _STATIC_BLOCKS)
                settings = self._load(active)
            changed = differences(running.dynamic, settings.dynamic)
            static_ignored += self._without_process(settings)
            await asyncio.to_thread(write_atomically, self._active_path, active)
            generation = await self._keeper.use_config(active, settings)
            if self._keeper.current is None:
                workers = 0
            else:
                workers = await self._link.swapped(generation, SWAP_TIMEOUT_S)
        if static_ignored:
            log.warning("these settings wait for a restart", settings=static_ignored)
        log.info("configuration reloaded", changed=changed, workers=workers)
        for problem in advise(settings):
            log.warning("the configuration holds something doubtful", problem=str(problem))
        return Reloaded(changed, static_ignored, workers)

    async def reload_logged(self, why: str) -> None:
        """Reload for someone who does not wait for an answer: the outcome goes to the log."""
        try:
            await self.reload()
        except ConfigError as refused:
            problems = [str(problem) for problem in refused.problems]
            log.warning("the new configuration is refused, the old one serves on", why=why, problems=problems)

    async def watch(self) -> None:
        """Reload whenever the file's content has changed, for ever; heeds `reload.watch`."""
        await asyncio.to_thread(self._note_unless_changed_since_start)
        while True:
            await asyncio.sleep(POLL_S)
            if not self._keeper.settings.reload.watch:
                continue
            if self._sightings.see(await asyncio.to_thread(fingerprint, self._path)):
                await self.reload_logged("the file changed")

    def _without_process(self, settings: Settings) -> list[str]:
        """Upstreams of a kind whose process starts with the gateway, where it started without any."""
        late = _kinds_with_a_process(settings) - self._started_with
        return [f"upstreams.{name}.kind" for name, each in settings.upstreams.items() if each.kind in late]

    def _note_unless_changed_since_start(self) -> None:
        with contextlib.suppress(
            ConfigError, yaml.YAMLError
        ):  # then it has changed, and the watch will see it
            if with_overrides(self._read(), self._overrides) != self._keeper.text:
                self._sightings.known = None

    def _read(self) -> str:
        """The file's text, noted as seen. Raises `ConfigError`."""
        try:
            raw = self._path.read_bytes()
            self._sightings.known = hashlib.sha256(raw).hexdigest()
            return raw.decode()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8 text; save the file as UTF-8"
            raise ConfigError([Problem("", None, f"cannot be read: {why}", str(self._path))]) from error

    def _load(self, text: str) -> Settings:
        return load(text, base=self._path.parent, env=self._environment, name=str(self._path))


def _kinds_with_a_process(settings: Settings) -> set[str]:
    """Of the kinds that are served by a process of ours, those that are in use."""
    return {each.kind for each in settings.upstreams.values() if each.enabled and each.is_ours}
