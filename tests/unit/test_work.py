"""A call that is given up: as a whole while nothing was sent of it, and not at all from then on."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from gateway.cached_calls import Work
from gateway.domain.errors import Draining
from gateway.domain.facts import Facts


def work() -> Work:
    """A call that waits for ever."""
    nothing = cast("Any", None)
    task = asyncio.get_running_loop().create_task(asyncio.Event().wait())
    return Work(nothing, nothing, nothing, nothing, nothing, nothing, Facts("req", 0.0), task)


async def ended(given_up: asyncio.Task[Any]) -> bool:
    """Whether it was cancelled; if not, it is now."""
    await asyncio.sleep(0)
    was_cancelled = given_up.cancelled()
    given_up.cancel()
    await asyncio.wait({given_up})
    return was_cancelled


async def test_for_the_process_with_what_its_caller_is_told() -> None:
    tested, first = work(), Draining("first")
    assert tested.task is not None

    tested.interrupt(first, "gateway_draining")
    tested.interrupt(Draining("second"), "other")

    assert tested.instead is first
    assert tested.facts.error_type == "gateway_draining"
    assert await ended(tested.task)


async def test_for_its_client_with_nobody_to_tell() -> None:
    tested = work()
    assert tested.task is not None

    tested.client_gone()

    assert tested.instead is None
    assert await ended(tested.task)


async def test_not_once_it_is_answered() -> None:
    tested = work()
    task = tested.task
    assert task is not None

    tested.answering()
    tested.client_gone()
    tested.interrupt(Draining("late"), "gateway_draining")

    assert (tested.instead, tested.facts.error_type) == (None, None)
    assert not await ended(task)
