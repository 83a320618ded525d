"""The HTTP client of the control plane, for commands: errors become one clear line and exit code 1."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self
from urllib.parse import quote

import click
import httpx2

from gateway.cli.output import printable

DEFAULT_URL = "http://127.0.0.1:8081"
_TIMEOUT_S = 30.0  # a reload waits for workers; nothing takes longer
_SILENCE_S = 600.0  # of a long answer: the records that a filter lets in may be far apart
_LONG = httpx2.Timeout(_TIMEOUT_S, read=_SILENCE_S)
_PAGE = 1000


class AdminClient:
    """Calls `/admin/v1` of a running gateway. Every method raises `click.ClickException` where it fails.

    A context manager: leaving it closes the connection.

    Args:
        url: of the control plane, without `/admin/v1`.
        admin_key: sent as bearer token.
    """

    def __init__(self, url: str, admin_key: str, *, transport: httpx2.BaseTransport | None = None) -> None:
        self._url = url.rstrip("/")
        self._http = httpx2.Client(
            headers={"authorization": f"Bearer {admin_key}"},
            timeout=_TIMEOUT_S,
            trust_env=False,  # an admin key is no business of a proxy
            verify=not url.startswith("http:"),  # reading the system's authorities takes 50 ms
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        *path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        author: str | None = None,
        is_long: bool = False,
    ) -> dict[str, Any]:
        """Call a route and return its JSON object. Parts of `path` are escaped, slashes too.

        `is_long` waits minutes for the answer.
        """
        headers = {"x-tunegate-author": author} if author else None
        try:
            response = self._http.request(
                method,
                self._route(path),
                params=_given(query),
                json=body,
                headers=headers,
                timeout=_LONG if is_long else _TIMEOUT_S,
            )
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise self._unreachable(error) from error
        return _read(response, self._url)

    def stream(
        self, method: str, *path: str, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> Iterator[bytes]:
        """Call a route and give the bytes of its answer as they come, however many there are."""
        has_begun = False
        try:
            with self._http.stream(
                method, self._route(path), params=_given(query), json=body, timeout=_LONG
            ) as response:
                if not response.is_success:
                    response.read()
                    _read(response, self._url)
                for piece in response.iter_bytes():
                    has_begun = True
                    yield piece
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            if has_begun:
                raise click.ClickException(f"the answer of {self._url} broke off: {error}") from error
            raise self._unreachable(error) from error

    def listed(
        self, *path: str, query: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> dict[str, Any]:
        """A list, read page by page to its end or to `limit` entries."""
        data: list[Any] = []
        asked = dict(query or {})
        while True:
            asked["limit"] = min(_PAGE, limit - len(data)) if limit else _PAGE
            page = self.call("GET", *path, query=asked)
            data += page["data"]
            if not page["has_more"] or (limit and len(data) >= limit):
                return {**page, "data": data}
            asked["after"] = page["next"]

    def _route(self, path: Iterable[str]) -> str:
        return "/".join([self._url, "admin/v1", *(quote(part, safe=":@") for part in path)])

    def _unreachable(self, error: Exception) -> click.ClickException:
        return click.ClickException(
            f"cannot reach the control plane at {self._url}: {error}. "
            "Is the gateway running there (--url, TUNEGATE_ADMIN_URL)?"
        )


def _given(query: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (query or {}).items() if value is not None}


def _read(response: httpx2.Response, url: str) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if response.is_success and isinstance(answer, dict):
        return answer
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(error, dict):
        raise click.ClickException(f"{url} answered {response.status_code} and is no Tunegate control plane.")
    lines = [printable(str(error.get("message")))]
    if response.status_code == 401:
        lines[0] += " TUNEGATE_ADMIN_KEY must hold the gateway's admin key."
    problems = answer.get("errors") or []
    if len(problems) > 1:
        lines = [f"{len(problems)} mistakes:", *(f"  {_problem(problem)}" for problem in problems)]
    raise click.ClickException("\n".join(lines))


def _problem(problem: Mapping[str, Any]) -> str:
    place = ": ".join(str(part) for part in (problem.get("line"), problem.get("path")) if part)
    return printable(f"{place}: {problem.get('message')}" if place else str(problem.get("message")))


def administers(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--url` and `--json`, and the client as its first argument."""

    @click.option("--url", envvar="TUNEGATE_ADMIN_URL", default=DEFAULT_URL, help="The control plane.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @functools.wraps(command)
    def wrapped(*args: Any, url: str, **options: Any) -> None:
        key = os.environ.get("TUNEGATE_ADMIN_KEY", "").strip()
        if not key:
            raise click.ClickException("no admin key: set TUNEGATE_ADMIN_KEY to the gateway's admin key.")
        with AdminClient(url, key) as client:
            command(client, *args, **options)

    return wrapped
