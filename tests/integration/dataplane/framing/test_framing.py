"""Every case of `cases.toml` over a real socket: its answer, a close, and no request upstream but its own."""

import asyncio
from dataclasses import dataclass, field

import pytest

from tests.integration.dataplane.conftest import StartGateway
from tests.integration.dataplane.framing.cases import Case, fill, read_cases
from tests.support.client import client_of, error_of
from tests.support.fake_upstream import FakeUpstream

AT_LEAST = 200
CLOSED_WITHIN_S = 5.0
USUAL, USUAL_USER = "{chat}Content-Length: {n}\r\n\r\n{body}", "somebody"


@dataclass
class Seen:
    """What came of a connection: statuses, whole answers, and how it ended."""

    answers: list[int] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    ended: str = "closed"


async def send(port: int, case: Case, key: str, *, behind: int) -> Seen:
    """Send a case on a connection that served so many usual calls before."""
    seen = Seen()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        for _ in range(behind):
            writer.write(fill(USUAL, key, USUAL_USER).encode())
            assert await _read_answer(reader, Seen(), has_body=True)
        writer.write(case.wire(key, case.name))
        async with asyncio.timeout(CLOSED_WITHIN_S):
            while await _read_answer(reader, seen, has_body=len(seen.answers) >= case.heads):
                pass
    except TimeoutError:
        seen.ended = "left open"
    except (asyncio.IncompleteReadError, ValueError):
        seen.ended = "behind something that is no answer"
    except ConnectionResetError:
        seen.ended = "reset"
    finally:
        writer.close()
    return seen


async def _read_answer(reader: asyncio.StreamReader, seen: Seen, *, has_body: bool) -> bool:
    """Read one answer; False at the end of the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return False
    length = head.partition("content-length: ")[2].partition("\r\n")[0]
    seen.answers.append(int(head.removeprefix("http/1.1 ")[:4]))
    seen.texts.append(head.encode("latin-1") + await reader.readexactly(int(length) if has_body else 0))
    return True


def test_the_table_is_as_large_as_it_should_be_and_has_no_case_twice() -> None:
    cases = read_cases()

    assert len(cases) >= AT_LEAST
    assert len({case.name for case in cases}) == len(cases)
    assert len({case.wire("tg-key", "tests") for case in cases}) == len(cases)


@pytest.mark.parametrize("behind", [0, 3], ids=["at once", "behind calls whose head is known by then"])
async def test_every_case_gets_its_answers_and_a_close_and_nothing_else_goes_upstream(
    start_gateway: StartGateway, upstream: FakeUpstream, behind: int
) -> None:
    gateway = await start_gateway(
        {"a": {"base_url": upstream.url, "models": ["first", "second"]}},
        {},
        server={"body_timeout_s": 0.5},
    )
    key = await gateway.new_key(limits={"rpm": 100_000})
    cases = read_cases()

    seen_of = {case: await send(gateway.port, case, key, behind=behind) for case in cases}

    async with client_of(gateway.url, key) as client:  # behind it nothing of theirs is on its way
        assert (await client.chat("first")).status_code == 200
    reached: dict[str, list[str]] = {case.name: [] for case in cases}
    for call in upstream.calls[:-1]:
        if call.json["user"] != USUAL_USER:
            reached[call.json["user"]].append(call.json["model"])
    wrong = [
        f"{case.name}: {seen.answers}, then {seen.ended}, upstream {reached[case.name]}"
        for case, seen in seen_of.items()
        if (tuple(seen.answers), tuple(reached[case.name]), seen.ended)
        != (case.answers, case.reaches, "closed")
    ]
    assert not wrong, "\n".join(wrong)
    for seen in seen_of.values():
        for status, answer in zip(seen.answers, seen.texts, strict=True):
            assert b"\r\nx-request-id: req_" in answer
            assert status < 400 or answer.endswith(b"\r\n\r\n") or error_of(answer)
