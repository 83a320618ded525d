"""The response cache in the whole product: three workers, one call upstream, and what dead leaders leave."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import pytest

from tests.e2e.conftest import config_with
from tests.e2e.gateway_process import GatewayProcess, running_gateway, wait_until, worker_of
from tests.e2e.upstream_thread import UpstreamThread
from tests.support.fake_upstream import FakeUpstream, done, finish, role, text, until, usage

WORKERS = 3
WIDE = {"rpm": None, "tpm": None, "concurrency": 10_000}
HI: Any = [{"role": "user", "content": "hi"}]
HELLO = role() + text("Hel") + text("lo") + finish()


@pytest.fixture(scope="module")
def keeper(fake: FakeUpstream) -> Iterator[GatewayProcess]:
    """A gateway that keeps all answers, of the calls with variety too."""
    server = {"workers": WORKERS, "drain_grace_s": 0.3, "drain_timeout_s": 20}
    config = config_with(
        fake,
        server=server,
        store={"data_dir": "data", "timeout_ms": 5000},  # a busy machine is no store that is away
        cache={"enabled": True, "nondeterministic": True},
    )
    with running_gateway(config) as gateway:
        yield gateway
        assert gateway.stop() == 0
        assert gateway.logged("a request failed") == []


@pytest.fixture
def user(keeper: GatewayProcess) -> str:
    """A key; all workers are there, also where the test before killed one."""
    with keeper.each_worker():
        return keeper.new_key(limits=WIDE)


class Listener:
    """Asks for a stream on a connection of its own, and writes down what comes and when."""

    def __init__(self) -> None:
        self.head: dict[str, str] = {}
        self.status = 0
        self.body = b""
        self.first_at = 0.0
        self.port = 0
        self.ended = asyncio.Event()

    async def ask(self, gateway: GatewayProcess, key: str, model: str) -> "Listener":
        address = urlsplit(gateway.data_url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        self.port = writer.get_extra_info("sockname")[1]
        body = json.dumps({"model": model, "messages": HI, "stream": True, "temperature": 0}).encode()
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (key.encode(), len(body), body)
        )
        try:
            await self._read(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # its worker was killed
        finally:
            self.ended.set()
            writer.close()
        return self

    async def _read(self, reader: asyncio.StreamReader) -> None:
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        self.status = int(status.split()[1])
        self.head = {name: value for name, _, value in (line.partition(": ") for line in lines)}
        if "content-length" in self.head:
            self.body = await reader.readexactly(int(self.head["content-length"]))
            return
        while (size := int(await reader.readuntil(b"\r\n"), 16)) > 0:
            self.body += (await reader.readexactly(size + 2))[:-2]
            self.first_at = self.first_at or time.monotonic()
        self.is_whole = True

    is_whole = False

    @property
    def word(self) -> str:
        return self.head.get("x-tunegate-cache", "")


def in_use(gateway: GatewayProcess, key: str) -> int:
    """Calls that the key has in flight."""
    answer = httpx2.get(
        f"{gateway.base_url}/key", headers={"authorization": f"Bearer {key}"}, trust_env=False
    )
    found: int = answer.json()["limits"]["concurrency"]["in_use"]
    return found


def worker_behind(gateway: GatewayProcess, port: int) -> str:
    """The worker that holds the other end of a client's connection."""
    ours = f":{urlsplit(gateway.data_url).port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = [row[9] for row in rows if row[1].endswith(ours) and row[2].endswith(f":{port:04X}")]
    for number in range(WORKERS):
        folder = Path(f"/proc/{gateway.pid(f'worker-{number}')}/fd")
        if any(str(fd.readlink()) == f"socket:[{inode}]" for fd in folder.iterdir()):
            return f"worker-{number}"
    raise AssertionError("no worker has it")


def test_two_hundred_equal_requests_are_one_call(
    keeper: GatewayProcess, user: str, scripted: UpstreamThread, capsys: pytest.CaptureFixture[str]
) -> None:
    fake, model = scripted.upstream, "fake-crowd"
    begin, go_on = scripted.switch(), scripted.switch()
    fake.plays(
        model,
        until(begin.event),
        role(),
        text("Hel"),
        until(go_on.event),
        text("lo"),
        finish(),
        usage(),
        done(),
    )

    async def crowd() -> list[Listener]:
        listeners = [Listener() for _ in range(200)]
        asking = [asyncio.create_task(listener.ask(keeper, user, model)) for listener in listeners]
        await asyncio.to_thread(wait_until, lambda: in_use(keeper, user) == 200, "200 calls in flight")
        begin.throw()
        while not all(listener.first_at for listener in listeners):
            await asyncio.sleep(0.005)
        go_on.throw()
        return list(await asyncio.wait_for(asyncio.gather(*asking), 30))

    listeners = asyncio.run(crowd())
    (leader,) = [listener for listener in listeners if listener.word == "miss"]
    lags = sorted(1000 * (each.first_at - leader.first_at) for each in listeners if each is not leader)

    assert len(fake.calls_of(model)) == 1
    assert {listener.body for listener in listeners} == {HELLO + done()}
    assert {listener.word for listener in listeners} == {"miss", "shared"}
    # Who takes a connection is chance; a busy machine may leave one worker without.
    assert len({worker_of(listener.head["x-request-id"]) for listener in listeners}) >= WORKERS - 1
    with capsys.disabled():
        say(
            f"first tokens of 199 followers after their leader's: median {lags[99]:.0f} ms,"
            f" last {lags[-1]:.0f} ms"
        )
    spent = keeper.admin("GET", "/admin/v1/usage?group_by=model")["data"]
    (row,) = [row for row in spent if row["model"] == model]
    assert (row["requests"], row["cache_hits"], row["prompt_tokens"]) == (200, 199, 7)


@pytest.mark.parametrize("has_begun", [False, True], ids=["before the answer", "in the middle of it"])
def test_a_killed_leader(
    keeper: GatewayProcess, user: str, scripted: UpstreamThread, *, has_begun: bool
) -> None:
    fake, model = scripted.upstream, f"fake-orphans-{int(has_begun)}"
    never = scripted.switch()
    steps = (role(), text("Hel")) if has_begun else ()
    fake.plays(model, *steps, until(never.event))

    async def lose() -> tuple[Listener, list[Listener]]:
        leader = Listener()
        leading = asyncio.create_task(leader.ask(keeper, user, model))
        await asyncio.to_thread(wait_until, lambda: fake.calls_of(model), "the call upstream")
        victim = worker_behind(keeper, leader.port)
        others = [Listener() for _ in range(20)]  # which worker takes a connection is chance
        asking = [asyncio.create_task(listener.ask(keeper, user, model)) for listener in others]
        await asyncio.to_thread(wait_until, lambda: in_use(keeper, user) == 21, "all calls in flight")
        while has_begun and not all(listener.first_at for listener in others):
            await asyncio.sleep(0.005)
        survivors = [each for each in others if worker_behind(keeper, each.port) != victim]
        os.kill(keeper.pid(victim), signal.SIGKILL)
        await asyncio.wait_for(asyncio.gather(leading, *asking), 20)
        return leader, survivors

    leader, survivors = asyncio.run(lose())
    never.throw()

    assert not leader.is_whole
    assert survivors
    if has_begun:
        for listener in survivors:
            assert listener.is_whole
            assert listener.body.startswith(role() + text("Hel"))
            assert re.fullmatch(
                rb'data: \{"error":.*"stream_truncated"\}\}\n\n', listener.body.split(text("Hel"))[1]
            )
    else:
        assert [listener.body for listener in survivors] == [HELLO + done()] * len(survivors)
        assert sorted({listener.word for listener in survivors}) in (
            ["hit", "miss"],
            ["hit", "miss", "shared"],
            ["miss"],
            ["miss", "shared"],
        )
        assert len(fake.calls_of(model)) == 2


def test_the_official_sdk_gets_hits(keeper: GatewayProcess, user: str, fake: FakeUpstream) -> None:
    with keeper.sdk(user) as client:
        chats = client.chat.completions
        first = chats.with_raw_response.create(model="fake-sdk", messages=HI)
        again = chats.with_raw_response.create(model="fake-sdk", messages=HI)
        with chats.stream(model="fake-sdk", messages=HI, stream_options={"include_usage": True}) as stream:
            streamed = stream.get_final_completion()
        with pytest.raises(openai.NotFoundError) as missed:
            chats.create(model="fake-sdk-2", messages=HI, extra_headers={"x-tunegate-cache": "only"})

    assert [each.headers["x-tunegate-cache"] for each in (first, again)] == ["miss", "hit"]
    assert first.parse() == again.parse()
    assert streamed.choices[0].message.content == first.parse().choices[0].message.content == "Hello"
    assert streamed.usage == first.parse().usage
    assert missed.value.code == "cache_miss"
    assert len(fake.calls_of("fake-sdk")) == 1


def say(line: str) -> None:
    print(f"\n{line}")  # noqa: T201  # a figure for whoever runs it
