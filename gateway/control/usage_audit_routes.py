"""`/admin/v1/ledger/audit`: an audit of the counters, told line by line as it goes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec
import structlog
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from gateway.control.errors import Conflict, error_body
from gateway.control.usage_audit import Audit, Line
from gateway.store.errors import StoreError

log = structlog.get_logger(__name__)


class AuditWish(BaseModel):
    """`repair`: set the counters that are wrong."""

    model_config = ConfigDict(extra="forbid", strict=True)

    repair: bool = False


def audit_routes(begin: Callable[[bool], Audit]) -> APIRouter:
    """The route over `begin`, which makes an audit, one that repairs where it is given True."""
    router = APIRouter(prefix="/admin/v1/ledger", tags=["usage"])

    @router.post("/audit", response_class=StreamingResponse)
    async def audit_ledger(body: AuditWish | None = None) -> StreamingResponse:
        """Compare the counters of usage with the ledger, while calls go on.

        Answers JSON lines: `ledger.audit.difference` for each counter that differs, `ledger.audit.progress`
        and `ledger.audit.shard` as it goes, and as the last one `ledger.audit`, the sums. A line with `error`
        ends an audit that could not go on.
        """
        lines = begin(body is not None and body.repair).lines()
        # The first line is made before the answer begins, so that a store that is away is a 503.
        first = await anext(lines)
        return StreamingResponse(_encoded(first, lines), media_type="application/jsonl")

    return router


async def _encoded(first: Line, rest: AsyncIterator[Line]) -> AsyncIterator[bytes]:
    yield _line(first)
    try:
        async for line in rest:
            yield _line(line)
    except Conflict as error:
        yield _line(error_body(str(error), "invalid_request_error"))
    except StoreError as error:
        log.warning("an audit was broken off", reason=str(error))
        yield _line(error_body("The store is unavailable.", "server_error", "store_unavailable"))


def _line(value: Line) -> bytes:
    return msgspec.json.encode(value) + b"\n"
