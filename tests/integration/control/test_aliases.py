import asyncio
from collections.abc import Callable
from typing import Any

from gateway.store.alias_repository import AliasRepository
from gateway.store.client import Store
from tests.integration.control.running import FakeWorker, RunningControl
from tests.support.polling import until

FILE = """
upstreams:
  a: {base_url: "http://127.0.0.1:9/v1", owns: [acme]}
  b: {base_url: "http://127.0.0.1:9/v1"}
rewrites: {short: {drop: [top_p]}}
aliases:
  support: {model: gpt-x, upstreams: {a: 80, b: 20}, fallbacks: [gpt-y, {model: gpt-z, rewrite: short}]}
  sales: {model: gpt-y}
"""


def with_model(model: str) -> str:
    return FILE.replace("sales: {model: gpt-y}", f"sales: {{model: {model}}}")


async def history(control: RunningControl, name: str) -> list[tuple[int, str, Any]]:
    found = await control.call("GET", f"/aliases/{name}/revisions")
    return [(each["revision"], each["author"], each.get("model")) for each in found["data"]]


async def test_the_file_is_the_first_author(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    listed = await control.call("GET", "/aliases")
    assert [alias["name"] for alias in listed["data"]] == ["sales", "support"]
    support = await control.call("GET", "/aliases/support")
    assert support == listed["data"][1]
    assert support.pop("updated_at") > 1_700_000_000
    assert support == {
        "object": "alias",
        "name": "support",
        "revision": 1,
        "author": "file",
        "model": "gpt-x",
        "upstreams": {"a": 80, "b": 20},
        "fallbacks": [{"model": "gpt-y"}, {"model": "gpt-z", "rewrite": "short"}],
    }


async def test_every_change_is_a_revision(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    put = await control.call("PUT", "/aliases/sales", {"model": "gpt-z"}, x_tunegate_author="mary")
    assert (put["revision"], put["author"], put["model"]) == (2, "mary", "gpt-z")
    again = await control.call("PUT", "/aliases/sales", {"model": "gpt-z"})
    assert again == put  # the same again is no change
    back = await control.call("POST", "/aliases/sales/rollback", {"revision": 1})
    assert (back["revision"], back["author"], back["model"]) == (3, "admin", "gpt-y")
    gone = await control.call("DELETE", "/aliases/sales")
    assert gone == {"name": "sales", "object": "alias.deleted", "deleted": True}
    await control.call("GET", "/aliases/sales", expect=404)
    await control.call("DELETE", "/aliases/sales", expect=404)
    new = await control.call("PUT", "/aliases/sales", {"model": "gpt-1"})
    assert new["revision"] == 5
    assert await history(control, "sales") == [
        (5, "admin", "gpt-1"),
        (4, "admin", None),
        (3, "admin", "gpt-y"),
        (2, "mary", "gpt-z"),
        (1, "file", "gpt-y"),
    ]
    newest = (await control.call("GET", "/aliases/sales/revisions?limit=1"))["data"][0]
    assert (newest["object"], newest["deleted"]) == ("alias.revision", False)


async def test_the_file_changes_an_alias_only_where_its_own_block_changed(
    start_control: Callable[..., Any],
) -> None:
    control = await start_control(FILE)
    await control.call("PUT", "/aliases/sales", {"model": "by-hand"})
    control.write(FILE.replace("gpt-x", "gpt-x2"))
    await control.call("POST", "/config/reload")
    assert (await control.call("GET", "/aliases/sales"))["model"] == "by-hand"
    assert await history(control, "support") == [(2, "file", "gpt-x2"), (1, "file", "gpt-x")]
    control.write(with_model("gpt-new"))
    await control.call("POST", "/config/reload")
    assert (await control.call("GET", "/aliases/sales"))["model"] == "gpt-new"
    control.write(FILE.replace("  sales: {model: gpt-y}\n", ""))
    await control.call("POST", "/config/reload")
    await control.call("GET", "/aliases/sales", expect=404)
    assert [author for _, author, _ in await history(control, "sales")] == ["file", "file", "admin", "file"]


async def test_a_restart_changes_nothing(start_control: Callable[..., Any], store: Store) -> None:
    control = await start_control(FILE)
    await control.call("PUT", "/aliases/sales", {"model": "by-hand"})
    await control.call("DELETE", "/aliases/support")
    epoch = await AliasRepository(store).epoch()
    second = await start_control(FILE, runtime="second")
    assert (await second.call("GET", "/aliases/sales"))["model"] == "by-hand"
    await second.call("GET", "/aliases/support", expect=404)
    assert await AliasRepository(store).epoch() == epoch


async def test_a_change_is_served_once_it_is_answered(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    async with FakeWorker(control) as worker:
        await control.call("PUT", "/aliases/new", {"model": "gpt-x"})
        assert worker.state["aliases"]["new"] == {"block": {"model": "gpt-x"}, "revision": 1}
        await control.call("DELETE", "/aliases/new")
        assert "new" not in worker.state["aliases"]


async def test_a_change_reaches_other_replicas(start_control: Callable[..., Any]) -> None:
    first, second = await start_control(FILE), await start_control(FILE, runtime="second")
    async with FakeWorker(second) as worker:
        await first.call("PUT", "/aliases/new", {"model": "gpt-x"})
        await until(lambda: "new" in worker.state["aliases"], "the other replica's alias")


async def test_a_block_is_held_to_the_rules_of_the_file(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    block = {"model": "ft:gpt-4o:acme::x", "upstreams": ["a", "c", "b"], "rewrite": "shrt", "fallback": []}
    refused = await control.call("PUT", "/aliases/sales", block, expect=400)
    problems = {problem["path"]: problem["message"] for problem in refused["errors"]}
    assert sorted(problems) == ["fallback", "rewrite", "upstreams[1]", "upstreams[2]"]
    assert 'did you mean "short"' in problems["rewrite"]
    assert refused["error"]["param"] == refused["errors"][0]["path"]
    assert "4 mistakes" in refused["error"]["message"]
    one = await control.call("PUT", "/aliases/sales", {}, expect=400)
    assert one["error"]["param"] == "model"
    assert await history(control, "sales") == [(1, "file", "gpt-y")]


async def test_aliases_may_fall_back_on_aliases_but_not_in_circles(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    await control.call("PUT", "/aliases/one", {"model": "gpt-x"})
    await control.call("PUT", "/aliases/two", {"model": "gpt-x", "fallbacks": ["one"]})
    refused = await control.call("PUT", "/aliases/one", {"model": "gpt-x", "fallbacks": ["two"]}, expect=400)
    assert "two" in refused["error"]["message"]


async def test_names_may_hold_what_model_names_hold(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    name = "acme/support#1?v:2@x"
    path = "/aliases/acme%2Fsupport%231%3Fv:2@x"
    made = await control.call("PUT", path, {"model": "gpt-x"})
    assert made["name"] == name
    assert await control.call("GET", "/aliases/acme/support%231%3Fv:2@x") == made
    await control.call("PUT", path, {"model": "gpt-y"})
    assert (await control.call("POST", f"{path}/rollback", {"revision": 1}))["model"] == "gpt-x"
    assert len(await history(control, "acme%2Fsupport%231%3Fv:2@x")) == 3
    refused = await control.call("PUT", "/aliases/two%20words", {"model": "gpt-x"}, expect=400)
    assert "spaces" in refused["error"]["message"]


async def test_what_get_answers_can_be_put(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    alias = await control.call("GET", "/aliases/support")
    assert await control.call("PUT", "/aliases/support", alias) == alias
    changed = await control.call("PUT", "/aliases/support", {**alias, "model": "gpt-q"})
    assert (changed["model"], changed["revision"]) == ("gpt-q", 2)


async def test_a_rollback_is_checked_too(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    await control.call("DELETE", "/aliases/support")
    control.write(FILE.replace("{a: 80, b: 20}", "[a]").replace("  b:", "  c:"))
    await control.call("POST", "/config/reload")
    refused = await control.call("POST", "/aliases/support/rollback", {"revision": 1}, expect=400)
    assert "unknown upstream" in refused["error"]["message"]
    for revision, words in ((2, "deleted"), (9, "1 to 3")):
        refused = await control.call("POST", "/aliases/support/rollback", {"revision": revision}, expect=400)
        assert refused["error"]["param"] == "revision"
        assert words in refused["error"]["message"]
    await control.call("POST", "/aliases/nobody/rollback", {"revision": 1}, expect=404)
    refused = await control.call("POST", "/aliases/support/rollback", {"revision": "1"}, expect=400)
    assert refused["error"]["param"] == "revision"


async def test_nobody_passes_for_the_file(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    for author in ("file", "x" * 65, ""):
        refused = await control.call(
            "PUT", "/aliases/x", {"model": "m"}, expect=400, x_tunegate_author=author
        )
        assert refused["error"]["param"] == "x-tunegate-author"


async def test_lists_come_in_pages(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    first = await control.call("GET", "/aliases?limit=1")
    assert (first["has_more"], first["next"]) == (True, "sales")
    second = await control.call("GET", "/aliases?limit=1&after=sales")
    assert ([alias["name"] for alias in second["data"]], second["has_more"]) == (["support"], False)
    for model in ("1", "2", "3"):
        await control.call("PUT", "/aliases/sales", {"model": model})
    page = await control.call("GET", "/aliases/sales/revisions?limit=2")
    assert ([each["revision"] for each in page["data"]], page["next"]) == ([4, 3], "3")
    page = await control.call("GET", "/aliases/sales/revisions?limit=2&after=3")
    assert ([each["revision"] for each in page["data"]], page["next"]) == ([2, 1], None)
    assert (await control.call("GET", "/aliases/sales/revisions?after=x", expect=400))["error"][
        "param"
    ] == "after"


async def test_numbers_and_empty_lists_are_kept_as_they_were_written(
    start_control: Callable[..., Any],
) -> None:
    control = await start_control(FILE)
    defaults = {"temperature": 1.0, "stop": [], "logit_bias": {}, "seed": 9007199254740993, "top_p": 0.1}
    await control.call("PUT", "/aliases/x", {"model": "m", "defaults": defaults, "fallbacks": []})
    text = (await control.http.get("/admin/v1/aliases/x")).text
    assert (
        '"defaults":{"temperature":1.0,"stop":[],"logit_bias":{},"seed":9007199254740993,"top_p":0.1}' in text
    )
    assert '"fallbacks":[]' in text


async def test_an_alias_of_a_newer_version_is_left_out_and_not_lost(
    start_control: Callable[..., Any], store: Store
) -> None:
    await AliasRepository(store).put("later", {"model": "m", "unheard_of": 1}, author="x", now=1)
    control = await start_control(FILE)
    async with FakeWorker(control) as worker:
        assert sorted(worker.state["aliases"]) == ["sales", "support"]
    assert (await control.call("GET", "/aliases/later"))["unheard_of"] == 1


async def test_replicas_with_different_files_do_not_undo_each_other_for_ever(
    start_control: Callable[..., Any], store: Store
) -> None:
    await start_control(FILE)
    second = await start_control(with_model("of-the-second"), runtime="second")
    assert (await second.call("GET", "/aliases/sales"))["model"] == "of-the-second"  # who started last
    await second.call("PUT", "/aliases/new", {"model": "gpt-x"})
    epoch = await AliasRepository(store).epoch()
    await asyncio.sleep(0.2)  # ten looks of each at the store
    assert await AliasRepository(store).epoch() == epoch


async def test_a_store_that_lost_everything_gets_the_file_again(
    start_control: Callable[..., Any], store: Store
) -> None:
    control = await start_control(FILE)
    await control.call("PUT", "/aliases/new", {"model": "gpt-x"})
    await store.call("FLUSHALL")
    async with FakeWorker(control) as worker:
        await until(lambda: sorted(worker.state["aliases"]) == ["sales", "support"], "the file's aliases")
