"""All that reads usage, put together over one store."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from fastapi import APIRouter

from gateway.control.organization_routes import organization_routes
from gateway.control.usage_audit import Audit
from gateway.control.usage_audit_routes import audit_routes
from gateway.control.usage_routes import usage_routes
from gateway.control.usage_service import UsageService
from gateway.store.client import Store
from gateway.store.usage import UsageReader
from gateway.store.usage_audit import AuditStore
from gateway.store.usage_events import LedgerReader


def usage_routers(
    store: Store, retention_days: Callable[[], int], clock: Callable[[], float]
) -> list[APIRouter]:
    """The routes of usage, costs and the ledger.

    Args:
        retention_days: how long events are kept, as it is set now.
        clock: unix seconds.
    """
    reader, ledger, audits = UsageReader(store), LedgerReader(store), AuditStore(store)
    service = UsageService(reader, clock)

    def begin_audit(repair: bool) -> Audit:
        return Audit(reader, ledger, audits, repair, secrets.token_hex(8), clock())

    return [
        usage_routes(service, ledger, clock),
        organization_routes(service, ledger, clock, retention_days),
        audit_routes(begin_audit),
    ]
