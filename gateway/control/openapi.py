"""The description of the admin API, `docs/openapi/control.json`. A test keeps the file current.

python -m gateway.control.openapi > docs/openapi/control.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gateway.control.plane import ControlPlane

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
