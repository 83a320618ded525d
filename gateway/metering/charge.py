"""What a request is charged whose process died: all that was reserved for it, as it may have been spent."""

from __future__ import annotations

from gateway.limits.values import Admission, OpenReservation, Settlement
from gateway.metering.record import Basis, LedgerRecord


def charge(reservation: OpenReservation) -> Settlement:
    """For a request that the store holds a reservation of; nothing where that is still renewed."""
    return _record(reservation).settlement(
        admitted_ms=reservation.admitted_ms,
        tokens_actual=reservation.tokens,
        has_credit=reservation.has_credit,
        only_if_reserved=True,
    )


def charge_of(admission: Admission, admitted_ms: int) -> Settlement:
    """For a request that was admitted while the store was away."""
    reservation = OpenReservation(
        request_id=admission.request_id,
        key_id=admission.key_id,
        process=admission.process,
        admitted_ms=admitted_ms,
        tokens=admission.tokens,
        bound_nanousd=admission.bound_nanousd,
        has_credit=admission.has_credit,
        basis=admission.basis,
    )
    return _record(reservation).settlement(
        admitted_ms=admitted_ms,
        tokens_actual=reservation.tokens,
        tpm=admission.bounds.tpm,
        has_credit=reservation.has_credit,
        was_reserved=False,
    )


def _record(reservation: OpenReservation) -> LedgerRecord:
    try:
        basis = Basis.decode(reservation.basis)
    except ValueError:  # another version wrote it; what the reservation itself says is enough to charge
        basis = Basis(route="other")
    return basis.orphaned(reservation)
