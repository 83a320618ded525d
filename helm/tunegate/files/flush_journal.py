"""preStop: wait until the store has every settlement that this pod holds in its journal.

    python3 -I flush_journal.py SECONDS [PORT]

The journal's volume may go with the pod. Exits with 0 when nothing is pending, with 1 when SECONDS are over
or the control plane does not tell; the drain follows in any case.
"""

import http.client
import os
import re
import sys
import time

PENDING = re.compile(rb"^tunegate_journal_pending (\S+)$", re.MULTILINE)


def metrics(port: int) -> bytes:
    """The text of the control plane's metrics; empty where it does not tell."""
    key = os.environ.get("TUNEGATE_ADMIN_KEY", "").strip()
    headers = {"authorization": f"Bearer {key}"} if key else {}
    for host in ("127.0.0.1", "::1"):  # not every container can resolve localhost
        connection = http.client.HTTPConnection(host, port, timeout=2)
        try:
            connection.request("GET", "/metrics", headers=headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
        return text if answer.status == http.client.OK else b""
    return b""


def pending(port: int) -> float | None:
    """How many settlements are on disk only; None where that is not known."""
    found = PENDING.search(metrics(port))
    return float(found[1]) if found else None


def flushed(within_s: float, port: int) -> bool:
    """Look each half second until nothing is pending."""
    deadline = time.monotonic() + within_s
    while pending(port) != 0:
        if time.monotonic() >= deadline:
            return False
        time.sleep(min(0.5, within_s))
    return True


if __name__ == "__main__":
    sys.exit(0 if flushed(float(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 8081) else 1)
