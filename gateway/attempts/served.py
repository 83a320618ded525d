"""What comes out of attempts."""

from __future__ import annotations

import msgspec

from gateway.domain.plan import Candidate, Target
from gateway.relay.pump import Pump
from gateway.relay.reply import Reply
from gateway.upstream.port import UpstreamResponse


class Served(msgspec.Struct):
    """An attempt that committed. `answer` is a whole JSON reply, or a stream past its commit point.

    `idle_s` bounds the upstream's silence; `deadline`, a reading of the clock, the whole call; `request_id`
    is the upstream's own. `is_broken` is set where the upstream fails in the middle of its stream.
    """

    candidate: Candidate
    credential: int
    response: UpstreamResponse
    idle_s: float
    deadline: float
    answer: Reply | Pump
    request_id: str | None = None
    is_broken: bool = False


class Held(msgspec.Struct, frozen=True):
    """An admitted call: what may serve it, and the cap on output tokens where its caller names none."""

    target: Target
    cap: int | None
