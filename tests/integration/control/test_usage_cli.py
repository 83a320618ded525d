"""`tunegate usage` and `tunegate ledger`, each as a process of its own or as its holder sees it."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from gateway.cli.main import tunegate
from gateway.store.client import Store
from gateway.store.keys import usage_of_day
from tests.integration.control.running import ADMIN_KEY, RunningControl
from tests.integration.usage.records import DAY, KEY_A, KEY_C, Book, today

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
async def book(store: Store) -> Book:
    book = Book(store)
    for back in (0, 0, 0, 3, 29):
        await book.settle(today() - back * DAY, team="Sales, EMEA")
    await book.settle(today() - 3 * DAY, key=KEY_C, cost_nanousd=None)
    return book


def environment(control: RunningControl) -> dict[str, str]:
    return {"TUNEGATE_ADMIN_KEY": ADMIN_KEY, "TUNEGATE_ADMIN_URL": control.url}


@pytest.fixture
def run(control: RunningControl) -> Run:
    async def run(*arguments: str, expect: int = 0) -> Result:
        runner = CliRunner(env=environment(control))
        with capture_logs():  # of the control plane, which shares this process's stdout
            result = await asyncio.to_thread(runner.invoke, tunegate, arguments)
        assert result.exit_code == expect, result.output + str(result.exception)
        return result

    return run


def rows(result: Result) -> list[dict[str, str]]:
    heading, *lines = (line.split("\t") for line in result.stdout.splitlines())
    return [dict(zip(heading, line, strict=True)) for line in lines]


async def test_rows_have_their_trend(run: Run, book: Book) -> None:
    shown = rows(await run("usage", "--by", "key,team"))
    assert [
        (row["KEY"], row["TEAM"], row["REQUESTS"], row["COST USD"], row["UNPRICED"]) for row in shown
    ] == [
        (KEY_A, "Sales, EMEA", "5", "0.005000005", "0"),
        (KEY_C, "-", "1", "-", "1"),
    ]
    first, second = (row["TREND"] for row in shown)
    assert (len(first), first[0], first[-4], first[-1]) == (30, "▄", "▄", "█")
    assert second == "▁" * 26 + "█" + "▁" * 3
    (total,) = rows(await run("usage", "--team", "Sales, EMEA", "--from", "7d"))
    assert total["REQUESTS"] == "4"
    # Seven days end in the middle of a day: the eighth bar is its part.
    assert (len(total["TREND"]), total["TREND"][-1], total["TREND"][-4]) == (8, "█", "▄")
    assert "TREND" not in rows(await run("usage", "--by", "day"))[0]


async def test_json_is_what_the_route_answers(run: Run, book: Book, control: RunningControl) -> None:
    shown = json.loads((await run("usage", "--by", "model", "--json")).stdout)
    assert shown == await control.call("GET", "/usage?group_by=model")
    assert "is none of" in (await run("usage", "--by", "week", expect=2)).stderr
    assert (
        "`from` must be before `to`"
        in (await run("usage", "--from", "2026-02-01", "--to", "2026-01-01", expect=1)).stderr
    )


async def test_an_export_appears_once_it_is_whole(run: Run, book: Book, tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    file.write_text("older")
    told = json.loads(
        (await run("usage", "export", "--format", "csv", "--output", str(file), "--json")).stdout
    )
    assert told["bytes"] == file.stat().st_size
    assert len(file.read_text().splitlines()) == 7
    await run("usage", "export", "--from", "never", "--output", str(file), expect=1)
    assert len(file.read_text().splitlines()) == 7
    assert not (tmp_path / "usage.csv.part").exists()


async def test_an_audit_exits_with_1_until_all_is_repaired(run: Run, book: Book, store: Store) -> None:
    assert "they agree" in (await run("ledger", "audit")).stderr
    day = time.strftime("%Y%m%d", time.gmtime(today()))
    name = f"{KEY_A}\x1fsupport\x1fft:gpt-4o:acme::x\x1fa\x1fsupport@1/stable\x1fSales, EMEA\x1frequests"
    await store.call("HINCRBY", usage_of_day("07", day), name, 4)
    found = await run("ledger", "audit", expect=1)
    (row,) = rows(found)
    assert (row["KEY"], row["FIGURE"], row["COUNTER"], row["LEDGER"]) == (KEY_A, "requests", "7", "3")
    assert "1 differ, 0 repaired" in found.stderr
    assert "1 differ, 1 repaired" in (await run("ledger", "audit", "--repair")).stderr
    told = json.loads((await run("ledger", "audit", "--json")).stdout)
    assert (told["differences"], told["data"], told["not_compared"]) == (0, [], [])


@pytest.mark.parametrize(
    "arguments", [("usage", "--by", "model"), ("usage", "export", "--output", "-"), ("usage", "--json")]
)
async def test_a_reader_that_leaves_is_no_error(
    control: RunningControl, store: Store, arguments: tuple[str, ...]
) -> None:
    book = Book(store)
    for number in range(300):
        await book.settle(model=f"{number:03d}-{'x' * 500}")  # more than a pipe holds
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from gateway.cli.main import main; main()", *arguments),
        stdout=writing,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment(control)},
    )
    os.close(writing)
    first = await asyncio.to_thread(os.read, reading, 1)
    os.close(reading)
    _, told = await process.communicate()
    assert (len(first), told) == (1, b"")
