"""Broken files and what is said about them, word for word."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tests.unit.config.loading import said

BROKEN = Path(__file__).parent / "broken"


@pytest.mark.parametrize("file", [pytest.param(path, id=path.stem) for path in sorted(BROKEN.glob("*.yaml"))])
def test_every_mistake_is_said_at_once_with_its_line(file: Path) -> None:
    """`broken/*.yaml` are files with mistakes, the `.txt` beside each is what is said about them."""
    assert said(file.read_text("utf-8")) == file.with_suffix(".txt").read_text("utf-8").splitlines()


SECRET = "hunter2-\n\"'}"
EVERYWHERE = """\
server: {host: "${S}", port: "${S}", workers: "${S}"}
admin: {metrics_auth: "${S}"}
store: {url: "${S}", durability: "${S}", data_dir: "${S}", timeout_ms: "${S}"}
upstreams:
  a:
    kind: "${S}"
    base_url: "${S}"
    api_keys: ["${S}"]
    organization: "${S}"
    owns: ["${S}:"]
    models: "${S}"
    timeouts: "${S}"
    headers: {x-key: "${S}", host: "${S}"}
    shutdown_dates: {m: "${S}"}
  b: "${S}"
  c: {kind: demo, owns: ["${O}"], api_keys: "${S}", headers: "${S}"}
aliases:
  s:
    model: "${S}"
    upstreams: ["${S}", c]
    fallbacks: ["${S}", {model: x, upstreams: ["${S}"]}]
    rewrite: "${S}"
  t: {model: "ft:m:${O}no:", upstreams: [c], fallback_on: ["${S}"], fallbacks: [t]}
  u: {model: "ft:m:acme:", upstreams: [c], defaults: "${S}"}
  v: {model: m, fallbacks: [base, "ft:m:${O}no:"], upstreams: {c: "${S}"}}
rewrites: {r: {drop: ["${S}", model], set: "${S}"}}
prices: "${S}"
"""


def test_nothing_from_the_environment_is_ever_shown() -> None:
    problems = said(EVERYWHERE, {"S": SECRET, "O": "hunter2"})
    assert len(problems) > 25
    assert not [line for line in problems if "hunter" in line]


def test_secrets_in_the_file_are_not_shown_either() -> None:
    text = dedent("""\
        store: {url: "http://:hunter2@h"}
        upstreams:
          a: {base_url: "https://hunter2@h/", api_keys: hunter2}
          b: hunter2
          c: {base_url: hunter2, api_keys: ["hunter2 "], headers: {x-key: "hunter2\\n", y: [hunter2]}}
          d: {base_url: ["hunter2"], headers: hunter2}
        """)
    problems = said(text)
    assert len(problems) == 10
    assert not [line for line in problems if "hunter2" in line]
