import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gateway.control.plane as plane_module
import gateway.control.reload as reload_module
from gateway.config import load
from gateway.control.active_text import with_overrides
from tests.integration.control.running import ADMIN_KEY, FakeWorker, RunningControl
from tests.support.polling import until

FILE = 'server: {port: 8080}\nupstreams: {a: {base_url: "http://127.0.0.1:9/v1", api_keys: [one]}}'


def active(control: RunningControl) -> str:
    return (control.runtime / "active.yaml").read_text()


async def test_a_reload_is_answered_once_every_worker_serves_it(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    async with FakeWorker(control) as one, FakeWorker(control, 1) as two:
        control.write(FILE.replace("one", "two"))
        done = await control.call("POST", "/config/reload")
        assert done == {
            "object": "config.reload",
            "changed": ["upstreams.a.api_keys"],
            "static_ignored": [],
            "workers": 2,
        }
        assert one.state["config"] == two.state["config"] == active(control) == control.path.read_text()
    assert (await control.call("POST", "/config/reload"))["changed"] == []


async def test_a_worker_that_never_swaps_does_not_hold_up_the_answer_for_ever(
    start_control: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload_module, "SWAP_TIMEOUT_S", 0.05)
    control = await start_control(FILE)
    async with FakeWorker(control), FakeWorker(control, 1, swaps=False):
        assert (await control.call("POST", "/config/reload"))["workers"] == 1


async def test_a_bad_file_leaves_the_old_one_serving(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    before = active(control)
    async with FakeWorker(control) as worker:
        control.write("upstreams:\n  a: {base_url: nowhere}\n  b: {bas_url: x}\n")
        refused = await control.call("POST", "/config/reload", expect=400)
        assert sorted(refused["error"]) == ["code", "message", "param", "type"]
        assert [(each["path"], each["line"]) for each in refused["errors"]] == [
            *(("upstreams.a.base_url", 3), ("upstreams.b.bas_url", 4), ("upstreams.b.base_url", 4)),
        ] or len(refused["errors"]) >= 2
        assert refused["error"]["param"] == refused["errors"][0]["path"]
        control.path.unlink()
        refused = await control.call("POST", "/config/reload", expect=400)
        assert "cannot be read" in refused["error"]["message"]
        assert len(worker.states) == 1
    assert active(control) == before
    assert "a" in (await control.call("GET", "/config"))["config"]["upstreams"]


async def test_static_settings_wait_for_a_restart(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    async with FakeWorker(control) as worker:
        control.write(FILE.replace("8080", "9090").replace("one", "two") + "\nadmin: {port: 9091}")
        for changed in (["upstreams.a.api_keys"], []):  # and they are named each time
            done = await control.call("POST", "/config/reload")
            assert done["changed"] == changed
            assert done["static_ignored"] == ["server.port", "admin.port"]
        settings = load(active(control), base=control.path.parent, env={}, name="")
        assert (settings.server.port, settings.admin.port) == (8080, 8081)
        assert settings.upstreams["a"].credentials[0].get_secret_value() == "two"
        assert [state["config"] for state in worker.states[1:]] == [active(control)]
        control.write(FILE.replace("one", "two"))
        assert (await control.call("POST", "/config/reload"))["static_ignored"] == []


async def test_the_command_line_is_no_static_change(start_control: Callable[..., Any]) -> None:
    overrides: dict[str, dict[str, str | int]] = {"server": {"port": 0}, "admin": {"port": 1}}
    control = await start_control(FILE, overrides=overrides)
    text = with_overrides(control.path.read_text(), overrides)
    await control.plane.keeper.use_config(text, load(text, base=control.path.parent, env={}, name=""))
    control.write(FILE.replace("one", "two"))
    done = await control.call("POST", "/config/reload")
    assert (done["changed"], done["static_ignored"]) == (["upstreams.a.api_keys"], [])
    assert load(active(control), base=Path("/"), env={}, name="").server.port == 0
    control.write(FILE.replace("8080", "9090"))  # the command line beats this, before and after a restart
    assert (await control.call("POST", "/config/reload"))["static_ignored"] == []


async def seen(control: RunningControl, key: str) -> None:
    def is_there() -> bool:
        found = control.plane.keeper.settings.upstreams["a"].credentials
        return [credential.get_secret_value() for credential in found] == [key]

    await until(is_there, f"the key {key}")


async def test_a_change_of_the_file_is_noticed_however_it_is_written(
    start_control: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload_module, "POLL_S", 0.02)
    control = await start_control(FILE)
    control.write(FILE.replace("one", "renamed"))
    await seen(control, "renamed")
    control.path.write_text(control.full_text(FILE.replace("one", "in-place")))
    await seen(control, "in-place")
    control.path.unlink()
    await asyncio.sleep(0.1)  # long enough to be seen missing; nothing is to happen
    control.write(FILE.replace("one", "back"))
    await seen(control, "back")
    control.write("half: [")
    await asyncio.sleep(0.1)  # as above
    await seen(control, "back")
    control.write(FILE.replace("one", "mended"))
    await seen(control, "mended")


async def test_a_swapped_symlink_is_a_change(
    start_control: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload_module, "POLL_S", 0.02)
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "etc").mkdir()
    control = await start_control(FILE, file="..data/gateway.yaml")
    mounted = tmp_path / "etc" / "gateway.yaml"
    mounted.symlink_to("../..data/gateway.yaml")
    control.plane.reloader._path = mounted
    (tmp_path / "v2" / "gateway.yaml").write_text(control.full_text(FILE.replace("one", "swapped")))
    (tmp_path / "fresh").symlink_to("v2")
    (tmp_path / "fresh").rename(tmp_path / "..data")
    await seen(control, "swapped")


async def test_a_file_that_is_not_to_be_watched_is_not(
    start_control: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload_module, "POLL_S", 0.01)
    control = await start_control(FILE + "\nreload: {watch: false}")
    control.write(FILE.replace("one", "two"))
    await asyncio.sleep(0.1)  # ten times as long as it would take
    await seen(control, "one")
    await control.call("POST", "/config/reload")
    await seen(control, "two")


async def test_a_change_between_start_and_watch_is_not_missed(
    start_control: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload_module, "POLL_S", 0.02)
    control = await start_control(FILE)
    control.plane.keeper._text = "what serves is older than the file"
    control.write(FILE.replace("one", "two"))
    control.plane.reloader._note_unless_changed_since_start()
    await seen(control, "two")


async def test_what_is_shown_of_the_configuration_holds_no_secret(start_control: Callable[..., Any]) -> None:
    control = await start_control(
        'upstreams: {a: {base_url: "http://h/v1", api_keys: [hush-1, ""], headers: {x-secret: hush-2}}}'
    )
    text = (await control.http.get("/admin/v1/config")).text
    assert "hush" not in text
    shown = (await control.call("GET", "/config"))["config"]
    assert shown["upstreams"]["a"]["api_keys"] == ["***", ""]
    assert shown["upstreams"]["a"]["headers"] == {"x-secret": "***"}
    assert shown["server"]["port"] == 8080


async def test_a_demo_upstream_that_comes_late_wants_a_restart(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    control.write(FILE.replace("one]}", "one]}, demo: {kind: demo}"))
    done = await control.call("POST", "/config/reload")
    assert (done["changed"], done["static_ignored"]) == (["upstreams.demo"], ["upstreams.demo.kind"])


async def test_so_does_one_of_litellm_whose_environment_is_there(
    start_control: Callable[..., Any],
) -> None:
    environment = {"TUNEGATE_ADMIN_KEY": ADMIN_KEY, "TUNEGATE_PROVIDERS_PYTHON": "/gone"}
    control = await start_control(FILE, env=environment)
    control.write(FILE.replace("one]}", "one]}, claude: {kind: litellm, models: [anthropic/*]}"))
    assert (await control.call("POST", "/config/reload"))["static_ignored"] == []
    environment["TUNEGATE_PROVIDERS_PYTHON"] = sys.executable
    assert (await control.call("POST", "/config/reload"))["static_ignored"] == ["upstreams.claude.kind"]


async def test_sweepers_of_temporary_folders_find_nothing_old(
    start_control: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plane_module, "YOUNG_S", 0.01)
    control = await start_control(FILE)
    old = [control.runtime / name for name in (".", "active.yaml", "control.sock")]
    for path in old:
        os.utime(path, (0, 0))
    await until(lambda: all(path.stat().st_mtime > 1e9 for path in old), "the touching")
