"""A worker that is frozen under its streams, and the control process with it: ended, replaced, told of."""

import asyncio
import os
import signal
from collections.abc import Iterator

import httpx2
import openai
import pytest

from tests.e2e.conftest import config_with
from tests.e2e.gateway_process import GatewayProcess, running_gateway
from tests.e2e.load import HI
from tests.support.fake_upstream import FakeUpstream, role, stall, text
from tests.support.polling import until

ONE_WORKER = {"workers": 1, "drain_grace_s": 0.1, "drain_timeout_s": 5, "worker_unresponsive_s": 3}


@pytest.fixture
def single(fake: FakeUpstream) -> Iterator[GatewayProcess]:
    with running_gateway(config_with(fake, server=ONE_WORKER)) as gateway:
        yield gateway
        assert gateway.stop() == 0
        assert gateway.logged("a request failed") == []


async def test_a_frozen_worker_is_replaced_and_its_streams_end(
    single: GatewayProcess, fake: FakeUpstream
) -> None:
    fake.plays("fake-frozen", role(), text("Hel"), stall())
    frozen, control, key = single.pid("worker-0"), single.pid("control"), single.new_key()
    async with single.async_sdk(key) as sdk:
        stream = await sdk.chat.completions.create(model="fake-frozen", messages=HI, stream=True)
        while not (await anext(stream)).choices[0].delta.content:
            pass
        os.kill(frozen, signal.SIGSTOP)
        os.kill(control, signal.SIGSTOP)
        with pytest.raises((httpx2.TransportError, openai.APIConnectionError)):
            async with asyncio.timeout(15):
                await anext(stream)
        answer = await sdk.chat.completions.create(model="support", messages=HI, max_tokens=2)
    assert answer.choices[0].message.content
    assert single.pid("worker-0") != frozen
    assert single.logged("child_exited", child="worker-0", because="unresponsive")
    await until(lambda: single.pid("control") != control, "another control process", within_s=15)
    assert single.logged("child_exited", child="control", because="unresponsive")

    async with httpx2.AsyncClient(base_url=single.admin_url, trust_env=False) as http:
        counted = 'tunegate_worker_replacements_total{reason="unresponsive"} 1'
        metrics = [""]

        async def look() -> bool:
            metrics[0] = (await http.get("/metrics")).text
            return counted in metrics[0]

        async with asyncio.timeout(10):
            while not await look():
                await asyncio.sleep(0.1)
    await until(lambda: frozen not in single.alive(), "the end of the frozen one")
    assert single.pid("worker-0") in single.alive()
    assert len(single.logged("child_unresponsive")) == 2  # who lives on beats on
