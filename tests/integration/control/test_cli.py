"""The command line against a running control plane."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from gateway.cli.main import tunegate
from gateway.store.client import Store
from gateway.store.secret_repository import SecretRepository, admin_key_hash
from tests.integration.control.running import ADMIN_KEY, RunningControl

FILE = """
upstreams:
  a: {base_url: "http://127.0.0.1:9/v1", api_keys: [k], models: [gpt-x]}
  b: {base_url: "http://127.0.0.1:9/v1"}
aliases:
  support: {model: gpt-x, upstreams: {a: 80, b: 20}, fallbacks: [gpt-y]}
"""
Run = Callable[..., Awaitable[Result]]


@pytest.fixture
async def control(start_control: Callable[..., Any]) -> RunningControl:
    return await start_control(FILE)  # type: ignore[no-any-return]  # it starts nothing else


@pytest.fixture
def run(control: RunningControl) -> Run:
    """Runs `tunegate ARGS...` in a thread, as the control plane lives in this loop."""

    async def run(*arguments: str, expect: int = 0, text: str | None = None, **env: str) -> Result:
        environment = {"TUNEGATE_ADMIN_KEY": ADMIN_KEY, "TUNEGATE_ADMIN_URL": control.url, **env}
        runner = CliRunner(env=environment)
        with capture_logs():  # of the control plane, which shares this process's stdout
            result = await asyncio.to_thread(runner.invoke, tunegate, arguments, input=text)
        assert result.exit_code == expect, result.output + str(result.exception)
        return result

    return run


def fields(result: Result) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in result.stdout.splitlines())


def rows(result: Result) -> list[dict[str, str]]:
    heading, *lines = (line.split("\t") for line in result.stdout.splitlines())
    return [dict(zip(heading, line, strict=True)) for line in lines]


async def test_the_life_of_a_key(run: Run) -> None:
    made = await run(
        *("keys", "create", "first", "--alias", "support", "--model", "aliases-only", "--team", "acme"),
        *(
            "--training",
            "all",
            "--may-pin",
            "--route",
            "models",
            "--metadata",
            "a=b=c",
            "--expires-in",
            "30d",
        ),
    )
    assert "not shown again" in made.stderr
    shown = fields(made)
    assert shown["key"].startswith(f"tg-{shown['id']}-")
    assert (shown["aliases"], shown["models"], shown["team"]) == ("support", "aliases-only", "acme")
    assert (shown["training"], shown["may_pin"], shown["metadata"]) == ("all", "yes", '{"a": "b=c"}')
    key_id = shown["id"]
    (row,) = rows(await run("keys", "list"))
    assert (row["ID"], row["NAME"], row["STATUS"], row["LAST USED"]) == (key_id, "first", "active", "-")
    changed = fields(
        await run(
            *("keys", "update", key_id, "--name", "second", "--no-may-pin", "--training", "no"),
            *("--unrestrict", "aliases", "--unrestrict", "expires_at"),
        )
    )
    assert (changed["name"], changed["may_pin"], changed["aliases"]) == ("second", "no", "-")
    assert (changed["training"], changed["expires_at"], changed["team"]) == ("no", "-", "acme")
    assert fields(await run("keys", "show", key_id)) == changed
    rotated = fields(await run("keys", "rotate", key_id, "--grace-s", "5"))
    assert rotated["key"] != shown["key"]
    assert (await run("keys", "revoke", key_id)).stdout == f"revoked {key_id}\n"
    assert rows(await run("keys", "list")) == []
    assert rows(await run("keys", "list", "--status", "revoked"))[0]["STATUS"] == "revoked"


async def test_the_bounds_of_a_key(run: Run) -> None:
    made = await run(
        *("keys", "create", "x", "--rpm", "60", "--tpm", "unlimited"),
        *("--budget", "12.50", "--period", "month"),
        *("--credit", "3", "--max-output-tokens", "500"),
    )
    shown = fields(made)
    key_id = shown["id"]
    assert (shown["rpm"], shown["tpm"], shown["concurrency"]) == ("60", "unlimited", "100 (default)")
    assert (shown["budget"], shown["credit_usd"], shown["max_output_tokens"]) == (
        *("12.5 USD a month", "3", "500"),
    )
    granted = fields(await run("keys", "credit", key_id, "-0.5", "--note", "a mistake"))
    assert (granted["granted_usd"], granted["remaining_usd"], granted["note"]) == ("-0.5", "2.5", "a mistake")
    changed = fields(
        await run(
            *("keys", "update", key_id, "--rpm", "default", "--concurrency", "0"),
            *("--unrestrict", "budget", "--unrestrict", "max_output_tokens"),
        )
    )
    assert (changed["rpm"], changed["tpm"], changed["concurrency"]) == ("600 (default)", "unlimited", "0")
    assert (changed["budget"], changed["credit_usd"], changed["max_output_tokens"]) == ("-", "2.5", "-")
    refused = await run("keys", "create", "y", "--budget", "five", "--period", "day", expect=1)
    assert "`budget.usd`: must be a number of US dollars" in refused.stderr


async def test_keys_as_json(run: Run) -> None:
    made = json.loads((await run("keys", "create", "x", "--json")).stdout)
    assert made["object"] == "key"
    assert (
        json.loads((await run("keys", "list", "--json", "--limit", "1")).stdout)["data"][0]["id"]
        == made["id"]
    )
    assert json.loads((await run("keys", "revoke", made["id"], "--json")).stdout)["deleted"] is True


async def test_refusals_are_one_line_and_exit_1(run: Run) -> None:
    assert "Error: No key has the id `x`." in (await run("keys", "show", "x", expect=1)).stderr
    assert "Error: No key has the id `x`." in (await run("keys", "credit", "x", "5", expect=1)).stderr
    refused = await run("keys", "list", expect=1, TUNEGATE_ADMIN_KEY="wrong")
    assert "Incorrect admin key. TUNEGATE_ADMIN_KEY must hold" in refused.stderr
    away = await run("keys", "list", "--url", "http://127.0.0.1:1", expect=1)
    assert "cannot reach the control plane at http://127.0.0.1:1" in away.stderr
    mistakes = await run("aliases", "set", "x", "--model", "m", "--upstream", "c", "--rewrite", "d", expect=1)
    assert "2 mistakes:" in mistakes.stderr
    for arguments in (
        ("keys", "create"),
        ("keys", "update", "x"),
        ("aliases", "set", "x"),
        ("keys", "create", "x", "--expires-in", "soon"),
        ("keys", "create", "x", "--metadata", "novalue"),
        ("aliases", "rollback", "x", "0"),
    ):
        await run(*arguments, expect=2)


async def test_the_life_of_an_alias(run: Run, tmp_path: Path) -> None:
    (row,) = rows(await run("aliases", "list"))
    assert (row["NAME"], row["MODEL"], row["UPSTREAMS"], row["FALLBACKS"], row["AUTHOR"]) == (
        *("support", "gpt-x", "a 80, b 20", "gpt-y", "file"),
    )
    made = await run(
        *("aliases", "set", "support", "--model", "gpt-z", "--upstream", "b", "--fallback", "gpt-x"),
        *("--author", "mary"),
    )
    assert (fields(made)["revision"], fields(made)["author"]) == ("2", "mary")
    block = tmp_path / "block.yaml"
    block.write_text("model: gpt-q\ndefaults: {temperature: 0.5}\n")
    assert fields(await run("aliases", "set", "support", "--file", str(block)))["model"] == "gpt-q"
    made = await run("aliases", "set", "support", "--file", "-", text='{"model": "gpt-s"}')
    assert fields(made)["model"] == "gpt-s"
    history = rows(await run("aliases", "history", "support"))
    assert [(each["REVISION"], each["MODEL"]) for each in history] == [
        *(("4", "gpt-s"), ("3", "gpt-q"), ("2", "gpt-z"), ("1", "gpt-x")),
    ]
    back = await run("aliases", "rollback", "support", "1", "--json")
    assert json.loads(back.stdout)["upstreams"] == {"a": 80, "b": 20}
    assert fields(await run("aliases", "show", "support"))["revision"] == "5"
    assert (
        "neither YAML nor JSON"
        in (await run("aliases", "set", "x", "--file", "-", text="{", expect=1)).stderr
    )
    both = await run("aliases", "set", "x", "--file", str(block), "--model", "m", expect=2)
    assert "--file" in both.stderr


async def test_upstreams_and_explain(run: Run) -> None:
    listed = rows(await run("upstreams", "list"))
    assert [(each["NAME"], each["STATE"], each["CREDENTIALS"], each["MODELS"]) for each in listed] == [
        ("a", "ready", "1 ready", "1"),
        ("b", "ready", "-", "0"),
    ]
    explained = (await run("explain", "support")).stdout.splitlines()
    assert explained[:4] == [
        *("requested: support", "alias: support", "release: support@1/stable"),
        "N\tUPSTREAM\tMODEL\tREWRITE\tUSD IN\tCACHED\tOUT\tSHUTDOWN",
    ]
    assert explained[4].split("\t")[:3] == ["1", "a", "gpt-x"]
    key = json.loads((await run("keys", "create", "x", "--alias", "other", "--json")).stdout)
    explained = (await run("explain", "support", "--key", key["id"])).stdout.splitlines()
    assert "not_allowed" in explained[-1]
    assert json.loads((await run("explain", "support", "--json")).stdout)["object"] == "explain"


async def test_an_admin_key_that_was_lost_is_replaced(
    run: Run, control: RunningControl, store: Store
) -> None:
    result = await run("admin-key", "reset", "--config", str(control.path))
    key = result.stdout.removeprefix("admin key: ").strip()
    assert "heeds only that one" in result.stderr  # the environment of this test has one
    assert await SecretRepository(store).admin_key_hash() == admin_key_hash(key)
    control.path.write_text(f"store: {{data_dir: {control.path.parent / 'none'}}}")
    gone = await run("admin-key", "reset", "--config", str(control.path), expect=1)
    assert "start the gateway first" in gone.stderr
