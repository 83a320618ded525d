"""Changing what is served, by the file and by the admin API: every worker at once, nothing in flight hurt."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SERVER, config_with
from tests.e2e.gateway_process import (
    GatewayProcess,
    OneWorker,
    config_text,
    running_gateway,
    wait_until,
)
from tests.e2e.upstream_thread import UpstreamThread
from tests.support.fake_upstream import FakeUpstream, done, finish, role, text, until

Config = Callable[..., dict[str, Any]]
HI: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def config(fake: FakeUpstream) -> Config:
    """A configuration whose alias `switch` goes to the model given."""

    def make(target: str, *, watch: bool = False, **blocks: Any) -> dict[str, Any]:
        made = config_with(fake, reload={"watch": watch}, **blocks)
        made["aliases"] = {"switch": {"model": target}, "kept": {"model": "fake-kept"}}
        return made

    return make


@pytest.fixture(scope="module")
def changing(config: Config) -> Iterator[GatewayProcess]:
    """A gateway whose configuration changes all the time."""
    with running_gateway(config("fake-one"), path="config/gateway.yaml") as gateway:
        yield gateway
        assert gateway.stop() == 0


@pytest.fixture(scope="module")
def user(changing: GatewayProcess) -> str:
    return changing.new_key()


@pytest.fixture
def workers(changing: GatewayProcess) -> Iterator[list[OneWorker]]:
    with changing.each_worker() as workers:
        yield workers


@pytest.fixture
def targets(workers: list[OneWorker], user: str) -> Callable[..., set[str | None]]:
    """Where a call of an alias goes, by whatever worker; None = the alias is unknown."""

    def ask(alias: str = "switch") -> set[str | None]:
        return targets_of(workers, user, alias)

    return ask


def targets_of(workers: list[OneWorker], user: str, alias: str) -> set[str | None]:
    answers = [worker.chat(user, alias) for worker in workers]
    assert {answer.status_code for answer in answers} <= {200, 404}, [answer.text for answer in answers]
    return {answer.headers.get("x-tunegate-model") for answer in answers}


def put_in_force(gateway: GatewayProcess, config: dict[str, Any]) -> dict[str, Any]:
    """Write the file anew and have it read."""
    in_place(gateway.path, config_text(config))
    reloaded: dict[str, Any] = gateway.admin("POST", "/admin/v1/config/reload")
    return reloaded


# -- how a file changes


def in_place(path: Path, content: str) -> None:
    path.write_text(content)


def rename_over(path: Path, content: str) -> None:
    fresh = path.with_suffix(".tmp")
    fresh.write_text(content)
    fresh.replace(path)


def swap_link(path: Path, content: str) -> None:
    """As Kubernetes changes a mounted ConfigMap: gateway.yaml -> ..data/gateway.yaml, ..data -> ..7."""
    versions = len(list(path.parent.glob("..[0-9]*")))
    folder = path.parent / f"..{versions}"
    folder.mkdir()
    (folder / path.name).write_text(content)
    fresh = path.parent / "..data_tmp"
    fresh.symlink_to(folder.name)
    fresh.replace(path.parent / "..data")


def mount_as_link(path: Path) -> None:
    swap_link(path, path.read_text())
    fresh = path.with_suffix(".link")
    fresh.symlink_to(f"..data/{path.name}")
    fresh.replace(path)


class TestReload:
    def test_by_signal(self, changing: GatewayProcess, config: Config, targets: Any) -> None:
        put_in_force(changing, config("fake-one"))
        assert targets() == {"fake-one"}
        in_place(changing.path, config_text(config("fake-two")))

        changing.process.send_signal(signal.SIGHUP)

        wait_until(lambda: targets() == {"fake-two"}, "the new target")

    def test_by_request_all_workers_serve_it_when_it_answers(
        self, changing: GatewayProcess, config: Config, targets: Any
    ) -> None:
        put_in_force(changing, config("fake-one"))
        for target in ("fake-two", "fake-one", "fake-two"):
            answer = put_in_force(changing, config(target))

            assert answer == {
                "object": "config.reload",
                "changed": ["aliases.switch.model"],
                "static_ignored": [],
                "workers": SERVER["workers"],
            }
            assert targets() == {target}
        assert put_in_force(changing, config("fake-two"))["changed"] == []

    @pytest.mark.parametrize("change", [in_place, rename_over, swap_link])
    def test_by_a_change_of_the_file(
        self,
        changing: GatewayProcess,
        config: Config,
        targets: Any,
        change: Callable[[Path, str], None],
    ) -> None:
        put_in_force(changing, config("fake-one", watch=True))
        assert targets() == {"fake-one"}
        if change is swap_link:
            mount_as_link(changing.path)

        change(changing.path, config_text(config("fake-two", watch=True)))

        wait_until(lambda: targets() == {"fake-two"}, "the new target")
        if change is swap_link:
            changing.path.unlink()  # a plain file again for the next test

    def test_a_stream_in_flight_keeps_its_target(
        self,
        changing: GatewayProcess,
        config: Config,
        fake: FakeUpstream,
        scripted: UpstreamThread,
        user: str,
        targets: Any,
    ) -> None:
        put_in_force(changing, config("fake-one"))
        switch = scripted.switch()
        fake.plays("fake-one", role(), text("Hel"), until(switch.event), text("lo"), finish(), done())
        other = config("fake-two")
        other["upstreams"]["renamed"] = other["upstreams"].pop("fake")
        with changing.sdk(user) as client:
            raw = client.chat.completions.with_raw_response.create(model="switch", messages=HI, stream=True)
            stream = raw.parse()
            begun = [next(stream), next(stream)]

            put_in_force(changing, other)
            assert targets() == {"fake-two"}
            switch.throw()

            said = [chunk.choices[0].delta.content for chunk in [*begun, *stream]]
        assert (raw.headers["x-tunegate-model"], raw.headers["x-tunegate-upstream"]) == ("fake-one", "fake")
        assert said == ["", "Hel", "lo", None]

    def test_a_bad_file_changes_nothing_and_is_told_with_its_lines(
        self, changing: GatewayProcess, config: Config, targets: Any
    ) -> None:
        put_in_force(changing, config("fake-one"))
        bad = config_text(config("fake-two")).replace("aliases:", "aliasses:")
        line = bad.splitlines().index("aliasses:") + 1
        in_place(changing.path, bad)

        refused = changing.ask_admin("POST", "/admin/v1/config/reload")
        changing.process.send_signal(signal.SIGHUP)

        assert refused.status_code == 400
        (problem,) = refused.json()["errors"]
        assert (problem["path"], problem["line"]) == ("aliasses", line)
        assert "aliases" in problem["message"]  # what was meant
        told = "the new configuration is refused, the old one serves on"
        wait_until(lambda: changing.logged(told, why="SIGHUP"), "the line in the log")
        assert f"gateway.yaml:{line}: aliasses" in str(changing.logged(told, why="SIGHUP")[-1]["problems"])
        assert targets() == {"fake-one"}

    def test_a_bad_file_that_is_watched(self, changing: GatewayProcess, config: Config, targets: Any) -> None:
        put_in_force(changing, config("fake-one", watch=True))
        before = len(_refusals(changing))
        in_place(changing.path, "server: [")
        wait_until(lambda: len(_refusals(changing)) > before, "the refusal")

        assert targets() == {"fake-one"}
        in_place(changing.path, config_text(config("fake-two", watch=True)))
        wait_until(lambda: targets() == {"fake-two"}, "the good file")
        assert len(_refusals(changing)) == before + 1  # told once, not at each look

    def test_what_needs_a_restart_is_listed(
        self, changing: GatewayProcess, config: Config, targets: Any
    ) -> None:
        put_in_force(changing, config("fake-one"))

        answer = put_in_force(changing, config("fake-two", server=SERVER | {"max_body_bytes": 1000}))

        assert answer["static_ignored"] == ["server.max_body_bytes"]
        assert answer["changed"] == ["aliases.switch.model"]
        assert targets() == {"fake-two"}


def _refusals(gateway: GatewayProcess) -> list[dict[str, Any]]:
    return gateway.logged("the new configuration is refused, the old one serves on", why="the file changed")


class TestAliases:
    def test_their_life_through_the_api(self, changing: GatewayProcess, targets: Any) -> None:
        """After each call all workers serve what it says."""
        path = "/admin/v1/aliases/team/made"
        assert targets("team/made") == {None}

        made = changing.admin("PUT", path, {"model": "fake-one"})
        assert (made["object"], made["name"], made["revision"], made["author"]) == (
            "alias",
            "team/made",
            1,
            "admin",
        )
        assert targets("team/made") == {"fake-one"}

        assert changing.admin("PUT", path, {"model": "fake-two"})["revision"] == 2
        assert targets("team/made") == {"fake-two"}

        assert changing.admin("POST", f"{path}/rollback", {"revision": 1})["revision"] == 3
        assert targets("team/made") == {"fake-one"}

        refused = changing.ask_admin("PUT", path, {"model": "fake-one", "upstreams": ["nowhere"]})
        assert refused.status_code == 400
        assert "nowhere" in refused.text
        assert targets("team/made") == {"fake-one"}

        deleted = changing.admin("DELETE", path)
        assert deleted == {"name": "team/made", "object": "alias.deleted", "deleted": True}
        assert targets("team/made") == {None}

        history = changing.admin("GET", f"{path}/revisions")["data"]
        assert [(each["revision"], each["deleted"], each.get("model")) for each in history] == [
            (4, True, None),
            (3, False, "fake-one"),
            (2, False, "fake-two"),
            (1, False, "fake-one"),
        ]

    def test_a_restarted_worker_serves_the_newest_state(
        self, changing: GatewayProcess, config: Config, user: str
    ) -> None:
        put_in_force(changing, config("fake-one"))
        put_in_force(changing, config("fake-two"))
        changing.admin("PUT", "/admin/v1/aliases/later", {"model": "fake-later"})
        starts = changing.starts_of("worker-0")

        os.kill(changing.pid("worker-0"), signal.SIGKILL)

        wait_until(lambda: changing.starts_of("worker-0") > starts, "another worker", within_s=20)
        with changing.each_worker() as workers:
            assert targets_of(workers, user, "switch") == {"fake-two"}
            assert targets_of(workers, user, "later") == {"fake-later"}
            changing.admin("PUT", "/admin/v1/aliases/later", {"model": "fake-even-later"})
            assert targets_of(workers, user, "later") == {"fake-even-later"}

    def test_a_restarted_control_process_goes_on_where_the_last_one_was(
        self, changing: GatewayProcess, config: Config, targets: Any
    ) -> None:
        put_in_force(changing, config("fake-two"))
        changing.admin("PUT", "/admin/v1/aliases/later", {"model": "fake-one"})
        starts = changing.starts_of("control")

        os.kill(changing.pid("control"), signal.SIGKILL)

        assert targets() == {"fake-two"}  # nobody needs it for calls
        wait_until(lambda: changing.starts_of("control") > starts, "another control process", within_s=20)
        assert targets("later") == {"fake-one"}
        changing.admin("PUT", "/admin/v1/aliases/later", {"model": "fake-two"})
        assert targets("later") == {"fake-two"}

    def test_a_full_restart_keeps_what_was_changed(
        self, changing: GatewayProcess, config: Config, user: str
    ) -> None:
        """The file goes on saying `fake-kept` and is not asked again until it says something new."""
        put_in_force(changing, config("fake-one"))
        revision = changing.admin("PUT", "/admin/v1/aliases/kept", {"model": "fake-changed"})["revision"]
        changing.admin("PUT", "/admin/v1/aliases/only-in-store", {"model": "fake-stored"})

        assert changing.stop() == 0
        changing.start()

        shown = changing.admin("GET", "/admin/v1/aliases/kept")
        assert (shown["model"], shown["revision"], shown["author"]) == ("fake-changed", revision, "admin")
        with changing.each_worker() as workers:
            assert targets_of(workers, user, "kept") == {"fake-changed"}
            assert targets_of(workers, user, "only-in-store") == {"fake-stored"}
            assert targets_of(workers, user, "switch") == {"fake-one"}
            new = config("fake-one")
            new["aliases"]["kept"] = {"model": "fake-new"}
            put_in_force(changing, new)
            assert targets_of(workers, user, "kept") == {"fake-new"}
        assert changing.admin("GET", "/admin/v1/aliases/kept")["author"] == "file"
        put_in_force(changing, config("fake-one"))
