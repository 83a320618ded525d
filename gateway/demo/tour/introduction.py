"""What a newcomer needs to know of a running gateway: where it is, with which key, what to call."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from gateway.config.models import Settings
from gateway.demo.tour.http import CallFailed, call
from gateway.demo.tour.keys import DevelopmentKeys

KEY_NAME = "development"


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a running gateway is called and what it takes to call it.

    Args:
        model: an alias of the file, or the first model; None where the gateway serves none.
        simulated: every upstream that may serve `model` is a demo.
        upstreams: each with its state, such as "demo (simulated)".
    """

    data_url: str
    admin_url: str
    admin_key: str
    virtual_key: str
    model: str | None
    simulated: bool
    upstreams: tuple[str, ...]

    def as_object(self) -> dict[str, Any]:
        """What `dev.py run --json` prints."""
        whole = asdict(self)
        del whole["upstreams"]
        return whole

    def as_text(self) -> str:
        """The lines for a person, the last of which can be pasted."""
        model = "none is served" if self.model is None else self.model
        lines = [
            f"data plane: {self.data_url}",
            f"control plane: {self.admin_url}",
            f"admin key: {self.admin_key}",
            f"virtual key: {self.virtual_key}",
            f"model: {model}",
            f"upstreams: {', '.join(self.upstreams) or 'none'}",
        ]
        return "\n".join([*lines, *([self.curl()] if self.model else [])])

    def curl(self) -> str:
        """A shell command that streams a reply."""
        message = {"role": "user", "content": "Hello! Who are you?"}
        body = json.dumps({"model": self.model, "messages": [message], "stream": True})
        return " ".join(
            [
                f"curl -N {self.data_url}/v1/chat/completions",
                f"-H 'Authorization: Bearer {self.virtual_key}'",
                "-H 'Content-Type: application/json'",
                f"-d {shlex.quote(body)}",
            ]
        )


def introduce(data_url: str, admin_url: str, settings: Settings, keys: DevelopmentKeys) -> Introduction:
    """Ask the gateway what it serves, making a virtual key if there is none. Raises `CallFailed`."""
    models = _models(data_url, admin_url, keys)
    model = next((alias for alias in settings.aliases if alias in models), next(iter(models), None))
    demos = {name for name, upstream in settings.upstreams.items() if upstream.kind == "demo"}
    return Introduction(
        data_url,
        admin_url,
        keys.admin,
        keys.virtual or "",
        model,
        model is not None and _serving(admin_url, keys.admin, model) <= demos,
        tuple(
            f"{item['name']} ({'simulated' if item['name'] in demos else item['state']})"
            for item in call(f"{admin_url}/admin/v1/upstreams?limit=1000", keys.admin)["data"]
        ),
    )


def _models(data_url: str, admin_url: str, keys: DevelopmentKeys) -> list[str]:
    """What the virtual key may call; a key that the gateway does not know is made anew."""
    if keys.virtual:
        try:
            return _list_models(data_url, keys.virtual)
        except CallFailed as error:
            if error.status != 401:
                raise
    keys.virtual = call(f"{admin_url}/admin/v1/keys", keys.admin, {"name": KEY_NAME})["key"]
    keys.save(os.environ)
    return _list_models(data_url, keys.virtual or "")


def _list_models(data_url: str, key: str) -> list[str]:
    return [model["id"] for model in call(f"{data_url}/v1/models", key)["data"]]


def _serving(admin_url: str, admin_key: str, model: str) -> set[str]:
    """The upstreams that a call of this model may reach now."""
    plan = call(f"{admin_url}/admin/v1/explain?model={quote(model, safe='')}", admin_key)
    return {attempt["upstream"] for attempt in plan["attempts"]}
