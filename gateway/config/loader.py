"""Text to settings: read, validate, check what must hold between the parts, tell everything at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from gateway.config.alias import AliasSettings
from gateway.config.document import Document, Places, read
from gateway.config.models import Settings
from gateway.config.nodes import NotYaml
from gateway.config.problem import ConfigError, Path, Problem, render_path
from gateway.config.providers import providers_python
from gateway.config.references import broken_references
from gateway.config.validation import Draft, validate


def load(text: str, *, base: FilePath, env: Mapping[str, str], name: str) -> Settings:
    """Make settings of the text of a configuration file.

    Args:
        text: YAML; JSON is YAML too.
        base: folder that relative paths in the file start from.
        env: where `${VAR}` comes from, and `TUNEGATE_PROVIDERS_PYTHON`.
        name: of the file, as it stands in messages.

    Raises:
        ConfigError: with every mistake, in the order of the file.
    """
    try:
        document = read(text, env)
    except NotYaml as error:
        raise ConfigError([Problem("", error.line, str(error), name)]) from None
    if document.data is None:
        raise ConfigError([Problem("", None, "the file is empty", name)])
    if not isinstance(document.data, dict):
        raise ConfigError([Problem("", 1, "write a mapping: server:, upstreams:, aliases: and so on", name)])
    places = Places(name, document.lines, frozenset(document.substituted))
    # A section whose every entry is commented out is an empty one. `store` is read even where it is absent,
    # since its default paths are relative to the file as well.
    document.data = {key: value for key, value in document.data.items() if value is not None}
    document.data.setdefault("store", {})
    draft = validate(document, base, places, providers_python(env))
    return _settled(draft, places)


def load_file(path: FilePath | str, env: Mapping[str, str]) -> Settings:
    """Read a configuration file; relative paths in it start from its folder.

    Raises:
        ConfigError: as `load` does, and where the file cannot be read.
    """
    name = str(path)
    try:
        text = FilePath(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        looks_wide = error.object[:2] in {b"\xff\xfe", b"\xfe\xff"}
        hint = "it looks like UTF-16: save it as UTF-8" if looks_wide else "save the file as UTF-8"
        raise ConfigError([Problem("", line, f"not UTF-8 text; {hint}", name)]) from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Problem("", None, f"cannot be read: {reason}", name)]) from error
    return load(text, base=FilePath(path).absolute().parent, env=env, name=name)


def load_alias(name: str, block: Mapping[str, Any], settings: Settings) -> AliasSettings:
    """Make an alias of a block that came from elsewhere than the file, such as the control plane.

    It is held to the same rules, among the upstreams, rewrites and aliases of `settings`. Variables
    are not replaced: whoever sends a block may not read the environment.

    Raises:
        ConfigError: with every mistake; paths start inside the block, lines are None.
    """
    others = {key: alias for key, alias in settings.aliases.items() if key != name}
    document = Document(data={"aliases": {name: dict(block)}})
    draft = validate(document, None, Places())
    if draft.settings is not None:
        aliases = {**draft.settings.aliases, **others}  # it comes first, so that a circle is told at it
        draft.settings = settings.model_copy(update={"aliases": aliases})
    return _settled(draft, Places(), within=("aliases", name)).aliases[name]


def _settled(draft: Draft, places: Places, within: tuple[str, ...] = ()) -> Settings:
    """The draft's settings, if nothing at all is wrong with them below `within`."""
    found: list[tuple[Path, int | None, str]] = [*draft.document.findings]
    found += [(path, places.line(path), message) for path, message in draft.findings]
    if draft.settings is not None:
        rules = broken_references(draft, draft.settings)
        found += [(path, places.line(path), message) for path, message in rules]
    problems = [
        Problem(render_path(path[len(within) :]), line, message, places.name)
        for path, line, message in sorted(found, key=lambda each: each[1] or 0)
        if path[: len(within)] == within
    ]
    if problems or draft.settings is None:
        raise ConfigError(problems)
    return draft.settings
