"""Every process of the gateway killed in turn under load, and every way of ending it in good order."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import openai
import pytest

from tests.e2e.conftest import config_with
from tests.e2e.gateway_process import GatewayProcess, running_gateway
from tests.e2e.load import CLIENTS, HI, Load, load_on
from tests.e2e.upstream_thread import UpstreamThread
from tests.support.fake_upstream import FakeUpstream, done, finish, role, stall, text
from tests.support.fake_upstream import until as until_thrown
from tests.support.polling import until

RESUMES_WITHIN_S = 2.0
RESTARTS_WITHIN_S = 20.0


@pytest.fixture(scope="module")
def victim(fake: FakeUpstream) -> Iterator[GatewayProcess]:
    """A gateway that loses its processes and gets them back."""
    with running_gateway(config_with(fake)) as gateway:
        yield gateway
        assert gateway.stop() == 0
        assert gateway.logged("a request failed") == []


@pytest.fixture
def user(victim: GatewayProcess) -> str:
    return victim.new_key()


class Writer:
    """Makes keys and alias revisions all the time, and remembers those that were acknowledged."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.revisions: dict[int, str] = {}
        self.refusals: list[httpx2.Response] = []

    async def write(self, http: httpx2.AsyncClient) -> None:
        made = await self._ask(http, "POST", "/admin/v1/keys", {"name": "written"})
        if made is not None:
            self.keys.append(made["key"])
        model = f"fake-{len(self.keys)}-{time.monotonic_ns()}"
        put = await self._ask(http, "PUT", "/admin/v1/aliases/written", {"model": model})
        if put is not None:
            self.revisions[put["revision"]] = model

    async def _ask(self, http: httpx2.AsyncClient, method: str, path: str, body: Any) -> Any:
        try:
            answer = await http.request(method, path, json=body)
        except httpx2.TransportError:  # a killed control process; what it was asked may have happened
            await asyncio.sleep(0.02)
            return None
        if answer.status_code != 200:
            self.refusals.append(answer)
            return None
        return answer.json()


@contextlib.asynccontextmanager
async def writes_to(gateway: GatewayProcess) -> AsyncIterator[Writer]:
    writer = Writer()
    over = asyncio.Event()
    http = httpx2.AsyncClient(
        base_url=gateway.admin_url, headers=gateway.admin_headers, timeout=20, trust_env=False
    )

    async def write_on() -> None:
        while not over.is_set():
            await writer.write(http)
            await asyncio.sleep(0.05)

    async with http, asyncio.TaskGroup() as group:
        group.create_task(write_on())
        try:
            await until(lambda: writer.revisions, "a first revision")
            yield writer
        finally:
            over.set()


async def nothing_was_lost(gateway: GatewayProcess, writer: Writer) -> None:
    """All that was acknowledged is there."""
    async with httpx2.AsyncClient(base_url=gateway.data_url, timeout=10, trust_env=False) as http:
        for key in writer.keys:
            answer = await http.get("/v1/models", headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == 200, answer.text
    history = gateway.admin("GET", "/admin/v1/aliases/written/revisions?limit=1000")["data"]
    stored = {each["revision"]: each["model"] for each in history}
    assert writer.revisions.items() <= stored.items()


async def kill(gateway: GatewayProcess, child: str, load: Load) -> float:
    """Kill it under load and wait until all is as before; returns when it was killed."""
    starts = gateway.starts_of(child)
    killed_at = time.monotonic()
    os.kill(gateway.pid(child), signal.SIGKILL)
    await until(lambda: gateway.starts_of(child) > starts, f"another {child}", within_s=RESTARTS_WITHIN_S)
    await load.all_answered_after(time.monotonic(), within_s=10)
    resumed = load.answered_after(killed_at)
    assert max(resumed.values()) - killed_at < RESUMES_WITHIN_S, load.failures
    return killed_at


@pytest.mark.parametrize("child", ["worker-0", "worker-1", "control", "store"])
async def test_a_killed_process_comes_back_and_nothing_is_lost(
    victim: GatewayProcess, user: str, child: str
) -> None:
    async with load_on(victim, user) as load, writes_to(victim) as writer:
        killed_at = await kill(victim, child, load)
        await nothing_was_lost(victim, writer)
        acknowledged = len(writer.keys)
        await until(lambda: len(writer.keys) > acknowledged, "a key made after the kill")

    if child.startswith("worker"):
        # Its own calls broke with it, at most one a client; nobody else's did.
        assert all(failure.status is None for failure in load.failures), load.failures
        assert len(load.failures) <= CLIENTS
        assert all(failure.began <= killed_at + 0.1 for failure in load.failures), load.failures
    else:
        assert load.failures == []  # calls need neither the control process nor, for known keys, the store
    assert {answer.status_code for answer in writer.refusals} <= {503}
    assert all("retry-after" in answer.headers for answer in writer.refusals)


async def test_a_store_that_hangs_for_a_second_is_not_noticed_by_known_keys(
    victim: GatewayProcess, user: str
) -> None:
    stranger = victim.new_key()
    with victim.each_worker() as workers:
        assert {worker.models(user).status_code for worker in workers} == {200}
    async with load_on(victim, user) as load, victim.async_sdk(stranger) as sdk:
        store = victim.pid("store")
        os.kill(store, signal.SIGSTOP)
        try:
            with pytest.raises(openai.InternalServerError) as refused:
                await sdk.models.list()
            await asyncio.sleep(1)  # this is the case itself, not a wait for something
        finally:
            os.kill(store, signal.SIGCONT)
        await load.all_answered_after(time.monotonic(), within_s=10)
        await sdk.models.list()

    assert load.failures == []
    assert (refused.value.status_code, refused.value.code) == (503, "store_unavailable")
    assert refused.value.response.headers["retry-after"] == "1"


async def test_workers_are_replaced_without_a_failed_call(victim: GatewayProcess, user: str) -> None:
    before = {name: victim.pid(name) for name in ("worker-0", "worker-1")}
    replaced = len(victim.logged("workers_replaced"))
    async with load_on(victim, user) as load:
        victim.process.send_signal(signal.SIGUSR1)
        await until(
            lambda: len(victim.logged("workers_replaced")) > replaced,
            "the replacement",
            within_s=2 * RESTARTS_WITHIN_S,
        )
        await load.all_answered_after(time.monotonic(), within_s=10)
        await until(lambda: not set(before.values()) & set(victim.alive()), "the end of the old workers")

    assert load.failures == []
    assert not set(before.values()) & {victim.pid(name) for name in before}


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere no foreign process is told of its parent's end"
)
async def test_nothing_outlives_a_killed_supervisor_and_nothing_is_lost(fake: FakeUpstream) -> None:
    with running_gateway(config_with(fake)) as gateway:
        async with writes_to(gateway) as writer:
            assert len(gateway.alive()) == 6, gateway.alive()  # itself, store, demo, control, two workers
            os.kill(gateway.process.pid, signal.SIGKILL)
            await until(lambda: not gateway.alive(), "the end of all", within_s=2)
        assert gateway.process.wait() == -signal.SIGKILL

        gateway.start()

        await nothing_was_lost(gateway, writer)


async def test_sigterm_finishes_what_runs_and_ends_well(fake: FakeUpstream, scripted: UpstreamThread) -> None:
    server = {"workers": 2, "drain_grace_s": 0.5, "drain_timeout_s": 2.5}
    with running_gateway(config_with(fake, server=server)) as gateway:
        switch = scripted.switch()
        for _ in range(6):
            rest = (until_thrown(switch.event), text("lo"), finish(), done())
            fake.plays("fake-drained", role(), text("Hel"), *rest)
        fake.plays("fake-endless", role(), text("Hel"), stall())
        async with gateway.async_sdk(gateway.new_key()) as sdk:
            streams = [Reading(sdk, "fake-drained") for _ in range(6)]
            endless = Reading(sdk, "fake-endless")
            await asyncio.gather(*(each.has_begun.wait() for each in [*streams, endless]))

            gateway.process.send_signal(signal.SIGTERM)

            await until(lambda: gateway.logged("draining"), "the drain")
            async with httpx2.AsyncClient(base_url=gateway.data_url, trust_env=False) as http:
                ready = await http.get("/readyz")
            refusal = await first_refusal(sdk)
            switch.throw()
            assert await asyncio.gather(*(each.text for each in streams)) == ["Hello"] * 6
            with pytest.raises(openai.APIError) as cut:
                await endless.text
        await until(lambda: gateway.process.poll() is not None, "the end", within_s=20)

        assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
        assert (refusal.status_code, refusal.code) == (503, "gateway_draining")
        assert refusal.response.headers["retry-after"] == "1"
        assert cut.value.code == "gateway_draining"
        assert gateway.process.returncode == 0
        assert gateway.alive() == []
        assert list(gateway.home.glob("tunegate-*")) == []  # its runtime directory


class Reading:
    """A stream that is being read; `text` is what it says, or the error that ended it."""

    def __init__(self, sdk: openai.AsyncOpenAI, model: str) -> None:
        self.has_begun = asyncio.Event()
        self.text = asyncio.create_task(self._read(sdk, model))

    async def _read(self, sdk: openai.AsyncOpenAI, model: str) -> str:
        said = ""
        async for chunk in await sdk.chat.completions.create(model=model, messages=HI, stream=True):
            self.has_begun.set()
            said += chunk.choices[0].delta.content or ""
        return said


async def first_refusal(sdk: openai.AsyncOpenAI) -> openai.APIStatusError:
    """Call until the grace is over."""
    async with asyncio.timeout(5):
        while True:
            try:
                await sdk.chat.completions.create(model="fake-late", messages=HI)
            except openai.APIStatusError as error:
                return error
            except openai.APIConnectionError:
                continue  # a worker without streams has ended; the other one takes the next call
