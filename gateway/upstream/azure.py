"""Where Azure has its routes: the v1 surface, and the one with `/deployments/` and a dated version."""

from __future__ import annotations

from urllib.parse import quote

_OWN_PARTS = ("/openai/v1", "/openai")


def azure_prefix(path: str, api_version: str | None) -> str:
    """The path before every route, from that of the base URL, whatever it names of the surface's own part."""
    path = path.rstrip("/")
    own = next((part for part in _OWN_PARTS if path.endswith(part)), "")
    return path.removesuffix(own) + ("/openai" if _is_dated(api_version) else "/openai/v1")


class AzureTargets:
    """Paths and queries of requests to one resource.

    Args:
        prefix: of `azure_prefix`.
        api_version: a day, which means the surface with `/deployments/`; `preview` asks for previews of the
            v1 surface, None for none.
    """

    def __init__(self, prefix: str, api_version: str | None) -> None:
        self._prefix = prefix
        self._is_dated = _is_dated(api_version)
        self._query = f"?api-version={api_version}" if api_version else ""

    def __call__(self, path: str, deployment: str | None) -> str:
        """The target of a route, such as "/chat/completions", for a deployment; None where it needs none."""
        if self._is_dated and deployment is not None:
            return f"{self._prefix}/deployments/{quote(deployment, safe='')}{path}{self._query}"
        return f"{self._prefix}{path}{self._query}"


def _is_dated(api_version: str | None) -> bool:
    return api_version is not None and api_version[0].isdigit()
