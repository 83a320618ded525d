"""`docs/configuration.md`, written from the models so that it cannot say anything else than they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.config.fields import Model
from gateway.config.loader import load
from gateway.config.problem import ConfigError, render_path
from gateway.config.problem import Path as Place
from gateway.config.shape import blocks_at, blocks_below

_HEAD = """\
# Configuration

<!-- Written by `python3 dev.py docs` from the models in `gateway/config/`. Edit those. -->

One YAML file says everything; JSON is YAML too. `config/gateway.yaml` is a small one that runs, commented.
`tunegate check-config FILE` lists every mistake at once and exits 1. Editors check the file while you write
it with `config/gateway.schema.json` (it knows shapes, not references between them).

## How the file is read

- **Unknown fields are errors**, and so are keys that stand twice. Every block and every field may be left out
  unless the table says *required*.
- **`${VAR}`** comes from the environment, and is an error if `VAR` is not set. **`${VAR:-default}`** takes
  the default where it is unset or empty; a default holds no `$` and no `}`. `$${` is a literal `${`.
  Variables stand inside values, never in keys, and are replaced after the YAML is read: a secret may hold any
  character. Put them in quotes inside `[...]` and `{...}`. Text from the environment is read as the type its
  field wants; in free JSON (`defaults`, `set`) an unquoted `${VAR}` that looks like a number or flag is one,
  a quoted one is text.
- **Plain values follow YAML 1.2**: `true` and `false` are the only flags (`yes` and `on` are text), dates and
  `1:30` are text. Ids that look like numbers need quotes as values, not as keys.
- Anchors (`&name`), aliases (`*name`) and merges (`<<: *name`) work; tags (`!name`) do not.
- Durations are in seconds (`_s`) or milliseconds (`_ms`), sizes in bytes, as the names say. Relative paths
  are relative to the file.
- **Reload**: by SIGHUP, `POST /admin/v1/config/reload`, or a change of the file. It is validated once and
  swapped in all workers at once; a bad file leaves the old one serving, calls in flight keep theirs.
  `server`, `admin` and `store` need a restart.
- Messages never show a value that came from the environment, or from a field that holds secrets or URLs.

## Mistakes

This file

```yaml
"""

_BROKEN = """\
server: {port: 80800}
upstreams:
  azure-eu:
    base_url: https://eu.example/v1
    api_keys: ["${EU_KEY}"]
  vllm-a: {base_url: "http://127.0.0.1:8000/v1"}
aliases:
  support:
    model: ft:gpt-4.1-mini-2025-04-14:acme:support:AbC123
    upstreams: [vllm-a, azure-eu2]
    falbacks: [base]
"""

_RULES = """
Besides the fields themselves, these hold between them:

- An alias or fallback names upstreams and rewrites that exist.
- An upstream that an alias or fallback names owns its `ft:` id (`owns`).
- `base` as a fallback needs an alias whose model is an id that names its base.
- Fallbacks that are aliases do not lead back to where they started. No alias is called `base`.
- Every upstream but those of kind `demo` and `litellm` has a `base_url`; at most one has `training: true`.
- Kind `litellm` lists its `models`; it has neither `owns`, `training` nor `allow_private: false`.
- The data plane and the control plane do not listen on the same port of the same address.

An upstream whose `api_keys` are all empty is disabled. So is one of kind `litellm` where the environment of
the provider process is not there: `python3 dev.py providers` makes it, or `TUNEGATE_PROVIDERS_PYTHON` names
another interpreter that has litellm. An alias that no enabled upstream serves answers 503 `no_upstream`. All
three are warnings.
"""


def render() -> str:
    """The page's text."""
    parts = [_HEAD, _BROKEN, "```\n\nis refused with\n\n```text\n", _messages(), "```\n", _RULES]
    parts += ["\n## Fields\n"]
    for path in _walk(()):
        for block in blocks_at(path):
            parts.append(_block(path, block))
    return "".join(parts)


def _messages() -> str:
    try:
        load(_BROKEN, base=Path("/"), env={}, name="gateway.yaml")
    except ConfigError as error:
        return f"{error}\n"
    raise AssertionError("the broken example is not broken")


def _walk(path: Place) -> Iterator[Place]:
    for below in blocks_below(path):
        yield below
        yield from _walk(below)


def _block(path: Place, block: type[Model]) -> str:
    schema = block.model_json_schema()
    about = " ".join((block.__doc__ or "").split())
    rows = [f"\n### `{render_path(path)}`\n\n{about}\n\n| field | value | default | |\n|---|---|---|---|\n"]
    for name, field in block.model_fields.items():
        value = _words(schema["properties"][name])
        default = (
            "*required*" if field.is_required() else _default(field.get_default(call_default_factory=True))
        )
        cells = (f"`{name}`", value, default, field.description or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(rows)


def _default(value: Any) -> str:
    if isinstance(value, Model):
        return "its fields'"
    if isinstance(value, Path):
        value = str(value)
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _words(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return "block" if not schema["$ref"].endswith("JsonValue") else "any"
    if branches := schema.get("anyOf", schema.get("oneOf")):
        words = [word for each in branches for word in _words(each).split(", or ")]
        return ", or ".join(dict.fromkeys(words))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{each}`" for each in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_words(schema['items'])}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"mapping of names to {_words(inner)}" if isinstance(inner, dict) else "mapping"
    bounds = [
        f"{sign} {schema[key]}" for key, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤")) if key in schema
    ]
    names = {
        "integer": "whole number",
        "number": "number",
        "boolean": "flag",
        "string": "text",
        "null": "null",
    }
    return " ".join([names.get(str(kind), "any"), *bounds])
