"""What each kind of upstream needs, and what only some kinds have."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.problem import Path
from gateway.config.quirks import QuirkSettings
from gateway.config.upstream import UpstreamSettings
from gateway.config.validation import Draft, Finding

_ONLY = {"litellm": ("provider", "params"), "azure": ("deployments", "api_version", "auth", "entra_scope")}


def kind_findings(draft: Draft, path: Path, upstream: UpstreamSettings) -> Iterator[Finding]:
    """What is wrong with one upstream for its kind. Nothing is said where the kind itself is."""
    if not draft.is_sound((*path, "kind")):
        return
    for kind, fields in _ONLY.items():
        for field in fields:
            if upstream.kind != kind and getattr(upstream, field) != _default(field):
                yield (*path, field), f"only kind {kind} has this"
    url = (*path, "base_url")
    if draft.is_sound(url):
        if upstream.kind == "demo" and upstream.base_url is not None:
            yield url, "kind demo runs inside Tunegate and has no base_url"
        elif upstream.kind not in {"demo", "litellm"} and upstream.base_url is None:
            yield url, "missing: where its API begins, such as https://api.openai.com/v1"
    yield from _quirks(draft, path, upstream)
    if upstream.kind == "litellm":
        yield from _litellm(draft, path, upstream)
    elif upstream.kind == "azure":
        yield from _azure(draft, path, upstream)


def _default(field: str) -> object:
    return UpstreamSettings.model_fields[field].get_default(call_default_factory=True)


def _quirks(draft: Draft, path: Path, upstream: UpstreamSettings) -> Iterator[Finding]:
    if not draft.is_sound((*path, "quirks")):
        return
    if upstream.kind in {"litellm", "demo"} and upstream.quirks != QuirkSettings():
        yield (*path, "quirks"), f"kind {upstream.kind} has none"
    if upstream.discovers and not upstream.quirks.model_list:
        yield (*path, "models"), "it has no list to discover (quirks.model_list): write its models down"


def _litellm(draft: Draft, path: Path, upstream: UpstreamSettings) -> Iterator[Finding]:
    if upstream.listed is None and draft.is_sound((*path, "models")):
        yield (*path, "models"), "kind litellm needs a list of what it serves, such as [anthropic/*]"
    if not upstream.allow_private:
        yield (*path, "allow_private"), "kind litellm connects by itself, so this cannot be held there"
    if upstream.training:
        yield (*path, "training"), "kind litellm has no files and no fine-tuning"
    if upstream.owns:
        yield (*path, "owns"), "kind litellm has no accounts with ft: ids"


def _azure(draft: Draft, path: Path, upstream: UpstreamSettings) -> Iterator[Finding]:
    models, deployments = (*path, "models"), (*path, "deployments")
    told = any(wrong[: len(place)] == place for wrong in draft.unsound for place in (models, deployments))
    if upstream.discovers:
        yield models, "kind azure lists what it could deploy, not what it has: name its deployments"
    elif not upstream.listed and not told:
        yield deployments, "missing: kind azure serves the ids named here, and those of models"
    if upstream.auth == "entra" and upstream.api_keys:
        yield (*path, "api_keys"), "auth: entra sends a token and no key"
