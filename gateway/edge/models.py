"""`GET /v1/models`: the aliases and models this key may use, in the official shape."""

from __future__ import annotations

from typing import Any

from gateway.catalog.catalogue import Catalogue
from gateway.domain.errors import ModelNotFound
from gateway.domain.plan import Target
from gateway.domain.principal import Principal

_CREATED = 1735689600
"""Aliases have no date of birth that would mean anything to a client: 2025-01-01, the same everywhere."""


def list_models(catalogue: Catalogue, principal: Principal) -> dict[str, Any]:
    """The list object: aliases first, then the models that upstreams list or discovered."""
    rows = [
        _row(target, catalogue)
        for name, target in sorted(catalogue.aliases.items())
        if principal.may_use_alias(name)
    ]
    for model in sorted(catalogue.listed_models()):
        target = catalogue.raw_target(model)
        if model not in catalogue.aliases and target is not None and principal.may_use_model(model):
            rows.append(_row(target, catalogue))
    return {"object": "list", "data": rows}


def get_model(catalogue: Catalogue, name: str, principal: Principal) -> dict[str, Any]:
    """One model object.

    Raises:
        ModelNotFound, ModelNotAllowed: as a call of it would.
    """
    return _row(catalogue.resolve(name, principal), catalogue)


def _row(target: Target, catalogue: Catalogue) -> dict[str, Any]:
    own = [c for c in target.candidates if c.step == 0]
    if not own:
        raise ModelNotFound(f"The model `{target.name}` does not exist or you do not have access to it.")
    usable = [c for c in own if c.skip is None]
    listed = catalogue.homes[usable[0].upstream].discovered.get(usable[0].model, {}) if usable else {}
    created = listed.get("created")
    owner = listed.get("owned_by")
    is_raw = target.alias is None
    return {
        "id": target.name,
        "object": "model",
        "created": created if is_raw and isinstance(created, int) else _CREATED,
        "owned_by": owner if is_raw and isinstance(owner, str) else "tunegate",
        "shutdown_date": (usable or own)[0].shutdown_date,
        "tunegate": {
            "alias": target.alias,
            "target": own[0].model,
            "upstreams": [c.upstream for c in usable],
            "fallbacks": list(dict.fromkeys(c.model for c in target.candidates if c.step > 0)),
        },
    }
