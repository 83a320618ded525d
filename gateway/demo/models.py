"""The models of the demo: what `/v1/models` lists, and the manner in which each answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from gateway.demo.errors import unknown_model
from gateway.demo.voices import base_voice, support_next_voice, support_voice

SHUTDOWN_IN_DAYS = 60
"""Every demo model shuts down this far ahead, whatever today is, so that sunset notices can be seen."""
OWNED_BY = "demo (simulated)"

BASE = "gpt-4.1-mini-2025-04-14"
SUPPORT = f"ft:{BASE}:demo:support:D3m0Aa01"
SUPPORT_NEXT = f"ft:{BASE}:demo:support-next:D3m0Bb02"
EMBEDDING = "text-embedding-3-small"


@dataclass(frozen=True, slots=True)
class DemoModel:
    """One served model. `voice` makes the n-th reply to a question; embedding models never use theirs."""

    id: str
    kind: Literal["chat", "embedding"]
    created: int
    voice: Callable[[str, int], str]

    def describe(self, now: float) -> dict[str, Any]:
        """The model object of the official API, `now` in unix seconds."""
        shutdown = datetime.fromtimestamp(now, UTC).date() + timedelta(days=SHUTDOWN_IN_DAYS)
        return {
            "id": self.id,
            "object": "model",
            "created": self.created,
            "owned_by": OWNED_BY,
            "shutdown_date": shutdown.isoformat(),
            "simulated": True,
        }


MODELS: dict[str, DemoModel] = {
    model.id: model
    for model in (
        DemoModel(SUPPORT, "chat", 1_767_225_600, support_voice),
        DemoModel(SUPPORT_NEXT, "chat", 1_772_323_200, support_next_voice),
        DemoModel(BASE, "chat", 1_744_317_547, base_voice),
        DemoModel(EMBEDDING, "embedding", 1_705_948_997, base_voice),
    )
}


def find_model(model_id: str, param: str | None = None) -> DemoModel:
    """The model of this id. Raises 404 `model_not_found`."""
    if model_id not in MODELS:
        raise unknown_model(model_id, param)
    return MODELS[model_id]
