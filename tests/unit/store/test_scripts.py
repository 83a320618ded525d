import hashlib
import itertools
from importlib import resources

import pytest

from gateway.store.scripts import Script


def names() -> list[str]:
    folder = resources.files("gateway.store").joinpath("lua")
    return sorted(
        entry.name.removesuffix(".lua") for entry in folder.iterdir() if entry.name.endswith(".lua")
    )


@pytest.mark.parametrize("name", names())
def test_a_script_is_package_data_known_by_its_hash(name):
    script = Script.load(name)
    assert script.name == name
    assert script.sha == hashlib.sha1(script.source.encode()).hexdigest()  # noqa: S324  # the protocol's own


@pytest.mark.parametrize("name", names())
def test_every_script_opens_with_what_it_takes_and_returns(name):
    lines = Script.load(name).source.splitlines()
    head = "\n".join(itertools.takewhile(lambda line: line.startswith("--"), lines))
    assert head.startswith(f"-- {name}.lua: ")
    assert "-- KEYS[" in head
    assert "-- RETURNS" in head


def test_an_unknown_script_is_an_error():
    with pytest.raises(FileNotFoundError):
        Script.load("no-such-script")
