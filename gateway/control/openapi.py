"""The description of the admin API, `docs/openapi/control.json`. A test keeps the file current.

python -m gateway.control.openapi > docs/openapi/control.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gateway.control.plane import ControlPlane

_DESCRIPTION = """\
Virtual keys, aliases and configuration of a running Tunegate gateway. Every route wants the admin key as
bearer token. Times are unix seconds. Lists come in pages: `limit` (1 to 1000) and `after`, which takes
the `next` of the page before. Every error has the official shape, and every answer an `x-request-id`.

Fields of a key: in `aliases`, `models` and `routes` null or nothing is no restriction and `[]` allows
nothing; `aliases` alone closes raw model ids. A null for `training`, `may_pin`, `cache_scope` or
`metadata` is the default. A revoked key is kept, so that its id is never used again: it is shown by its
id and by `status=revoked` or `all`, and changes no more. An alias that a key names need not exist yet.

Bounds of a key: each of `limits` that is absent is the configured default, null or 10^9 and more is
unlimited, 0 refuses every call. A change merges `limits` field by field, so what it does not name stays;
"default" names the default again. `limits` in an answer are those that the key names, `effective_limits`
those that hold. A budget or credit of 0 refuses every call. A `budget` is replaced whole. Money is US
dollars: a number, taken at its shortest decimal form, or a text, which is always exact; nine decimals and
9,000,000 at most. In answers it is decimal text, with whole nano-dollars beside it as `*_nanousd`.
`credit_usd` in an answer is what is left. What a key has used stands in `GET /v1/key` of its holder.

Aliases: every change is a revision, numbered from 1. The configuration file is one author among others,
named `file`: it makes a revision only where its own block differs from what it gave last, so a change
made here stands until then. An alias that goes from the file is deleted by it, whoever changed it
meanwhile. A block that is put again as it is makes no revision. A change is answered once the workers of
this replica serve it; other replicas follow within about a second. A planned move (`sunset`) is a revision
of the author `sunset`, with what it was made for in `moved`; once rolled back it is not made again.

Reload: a bad file changes nothing. Ports, store and the rest of `server`, `admin` and `store` wait for a
restart.
"""

_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "The field at fault."},
                "code": {"type": ["string", "null"]},
            },
        },
        "errors": {
            "type": "array",
            "description": "Every mistake of a configuration or an alias.",
            "items": {
                "type": "object",
                "required": ["path", "line", "message"],
                "properties": {
                    "path": {"type": "string"},
                    "line": {"type": ["integer", "null"]},
                    "message": {"type": "string"},
                },
            },
        },
    },
}


def render() -> str:
    """The description as JSON text, the same for the same routes."""
    anywhere = Path("/")
    plane = ControlPlane("store: {url: redis://localhost}", anywhere / "gateway.yaml", anywhere, {}, {})
    description = plane.api.openapi()
    description["info"]["description"] = _DESCRIPTION
    schemas = description["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):  # the framework's own error, which nobody gets
        schemas.pop(name, None)
    schemas["Error"] = _ERROR
    error = {
        "description": "An error in the official shape.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    for operations in description["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = error
    description["components"]["securitySchemes"] = {"admin_key": {"type": "http", "scheme": "bearer"}}
    description["security"] = [{"admin_key": []}]
    return json.dumps(description, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
