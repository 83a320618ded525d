from pathlib import Path

from gateway.config import Settings, load
from gateway.control.difference import differences


def settings_of(text: str) -> Settings:
    return load(text, base=Path("/"), env={}, name="gateway.yaml")


OLD = """
upstreams:
  a: {base_url: "http://a/v1", api_keys: [secret-1], models: [x, y]}
  b: {base_url: "http://b/v1", headers: {x-team: one}}
aliases:
  support: {model: x, upstreams: [a]}
"""


def changed(old: str, new: str) -> list[str]:
    return differences(settings_of(old).dynamic, settings_of(new).dynamic)


def test_what_says_the_same_does_not_differ() -> None:
    assert changed(OLD, "# moved\n" + OLD.replace("[x, y]", '["x", "y"]')) == []


def test_paths_lead_to_what_changed() -> None:
    new = (
        OLD.replace("[x, y]", "[x]").replace("support: {model: x", "support: {model: y").replace("one", "two")
    )
    assert changed(OLD, new) == ["upstreams.a.models", "upstreams.b.headers.x-team", "aliases.support.model"]


def test_what_comes_and_goes_is_named_as_a_whole() -> None:
    new = OLD.replace("support:", "sales:")
    assert changed(OLD, new) == ["aliases.support", "aliases.sales"]


def test_a_secret_that_changed_is_named_and_not_shown() -> None:
    assert changed(OLD, OLD.replace("secret-1", "secret-2")) == ["upstreams.a.api_keys"]


def test_the_order_of_upstreams_counts() -> None:
    lines = OLD.splitlines()
    lines[2], lines[3] = lines[3], lines[2]
    assert changed(OLD, "\n".join(lines)) == ["upstreams"]


def test_static_settings_differ_by_themselves() -> None:
    old, new = settings_of("server: {port: 1}"), settings_of("server: {port: 2}")
    assert differences(old.static, new.static) == ["server.port"]
    assert differences(old.dynamic, new.dynamic) == []
