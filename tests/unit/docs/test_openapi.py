"""docs/openapi/data.json is a good document, and describes the data plane as it is built."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway import __version__
from gateway.domain import errors
from gateway.domain.call import CHAT, COMPLETIONS, EMBEDDINGS, CallRoute
from gateway.domain.facts import Facts
from gateway.edge import render
from gateway.edge.headers import EVENT_STREAM, reply_headers
from gateway.edge.request import _REQUIRED, _TYPES
from gateway.edge.routes import EXACT, MODEL, MODEL_PREFIX, OPEN
from gateway.limits.headers import limit_lines
from gateway.limits.values import Admitted, Window
from gateway.readiness import WorkerReadiness
from tests.unit.docs.pages import ROOT

DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs/openapi/data.json").read_text("utf-8"))
COMPONENTS = DOCUMENT["components"]
WINDOW = Window(60, 59, 1000)
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
OPERATIONS = [
    (path, method, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]


def resolve(reference: str) -> Any:
    value: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        value = value[part]
    return value


def nodes(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from nodes(inner)


def fits(name: str, value: Any) -> bool:
    """True where the value is an instance of a schema of the components."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": COMPONENTS}
    return Draft202012Validator(schema).is_valid(value)


class TestDocument:
    def test_its_head(self) -> None:
        assert DOCUMENT["openapi"] == "3.1.0"
        assert DOCUMENT["info"]["version"] == __version__
        assert DOCUMENT["security"] == [{name: []} for name in COMPONENTS["securitySchemes"]]

    def test_every_reference_leads_somewhere_and_every_component_is_used(self) -> None:
        used = {node["$ref"] for node in nodes(DOCUMENT) if isinstance(node, dict) and "$ref" in node}
        for reference in used:
            assert resolve(reference)
        components = {
            f"#/components/{kind}/{name}"
            for kind, named in COMPONENTS.items()
            if kind != "securitySchemes"
            for name in named
        }
        assert components - used <= {"#/components/schemas/Error"}

    @pytest.mark.parametrize("name", COMPONENTS["schemas"])
    def test_schemas_are_schemas(self, name: str) -> None:
        Draft202012Validator.check_schema(COMPONENTS["schemas"][name])

    @pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS, ids=lambda value: str(value)[:40])
    def test_operations_are_whole(self, path: str, method: str, operation: dict[str, Any]) -> None:
        assert method in METHODS
        assert operation["summary"]
        assert set(operation["tags"]) <= {tag["name"] for tag in DOCUMENT["tags"]}
        parameters = [
            resolve(each["$ref"]) if "$ref" in each else each for each in operation.get("parameters", ())
        ]
        in_path = {each["name"] for each in parameters if each["in"] == "path"}
        assert in_path == {part[1:-1] for part in path.split("/") if part.startswith("{")}
        for status, response in operation["responses"].items():
            assert status.isdecimal()
            whole = resolve(response["$ref"]) if "$ref" in response else response
            assert whole["description"]
            assert "x-request-id" in whole["headers"]

    def test_ids_of_operations_differ(self) -> None:
        ids = [operation["operationId"] for _, _, operation in OPERATIONS]
        assert len(set(ids)) == len(ids)


class TestSurface:
    def test_paths_and_methods_are_those_of_the_built_routes(self) -> None:
        built = {path: route.methods for path, route in EXACT.items() if route.is_built}
        built[MODEL_PREFIX + "{id}"] = MODEL.methods
        built |= dict.fromkeys(OPEN, ("GET", "HEAD"))
        described = {
            path: tuple(method.upper() for method in item) for path, item in DOCUMENT["paths"].items()
        }
        assert described == built

    def test_all_but_the_probes_want_a_key(self) -> None:
        open_paths = {path for path, _, operation in OPERATIONS if operation.get("security") == []}
        assert open_paths == set(OPEN)

    @pytest.mark.parametrize(
        ("route", "name"),
        [(CHAT, "ChatRequest"), (COMPLETIONS, "CompletionRequest"), (EMBEDDINGS, "EmbeddingRequest")],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_bodies_name_the_fields_that_are_read_with_their_types(self, route: CallRoute, name: str) -> None:
        schema = COMPONENTS["schemas"][name]
        properties = {field: each["type"] for field, each in schema["properties"].items()}
        required = {"model", _REQUIRED[route]} - {None}
        assert schema["additionalProperties"] is True
        assert set(schema["required"]) == required
        assert properties.pop("model") == "string"
        read = {
            field: {*kinds, *(() if field in required else ("null",))}
            for field, kinds in _TYPES[route].items()
        }
        assert {
            field: {each} if isinstance(each, str) else set(each) for field, each in properties.items()
        } == read

    def test_calls_name_every_status_that_can_be(self) -> None:
        statuses = {row.status for row in render._TABLE.values()} | {200, 400, 404, 413, 422, 500}
        for path, _, operation in OPERATIONS:
            if "requestBody" in operation:
                assert {int(status) for status in operation["responses"]} == statuses, path

    def test_the_headers_of_replies_are_described(self) -> None:
        class Answer:
            def header(self, _: bytes) -> bytes | None:
                return b"2020-10-01"

            def has_any(self, _: bytes) -> bool:
                return True

        facts = Facts(
            "req_1",
            0.0,
            alias="a",
            release="a@1/stable",
            model="m",
            upstream="u",
            fallback="none",
            shutdown_date="2027-01-14",
            cache="hit",
            age_s=3,
            rate_limits=limit_lines(Admitted(at_ms=0, rpm=WINDOW, tpm=WINDOW, in_use=1)),
        )
        head = reply_headers(facts, EVENT_STREAM, 1.0, Answer()).decode()
        sent = {line.partition(": ")[0] for line in head.splitlines()}
        chat = DOCUMENT["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["headers"]
        assert set(chat) - {"x-tunegate-cost-usd"} == sent - {"content-type"}  # that one is not for streams
        embeddings = DOCUMENT["paths"]["/v1/embeddings"]["post"]["responses"]["200"]["headers"]
        assert set(chat) - set(embeddings) == {"cache-control", "x-accel-buffering"}


class TestReplies:
    @pytest.mark.parametrize(
        "error",
        [
            errors.BadKey("text"),
            errors.InvalidRequest("text", "model"),
            errors.MethodNotAllowed("GET", "/v1/chat/completions", "POST"),
            errors.AllRateLimited("text", 1.0),
            errors.RateLimited("text", "requests", 1.0),
            errors.RateLimited("text", "tokens", None),
            errors.BudgetSpent("text"),
            errors.NoUpstream("text"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_errors_fit_their_schema(self, error: errors.GatewayError) -> None:
        reply = render.render(error)
        assert fits("Error", json.loads(reply.content))
        response = next(
            resolve(each["$ref"])
            for _, _, operation in OPERATIONS
            for status, each in operation["responses"].items()
            if status == str(reply.status) and "$ref" in each
        )
        assert {name.decode() for name, _ in reply.headers} <= set(response["headers"])

    def test_an_error_without_all_four_keys_does_not(self) -> None:
        assert not fits("Error", {"error": {"message": "text", "type": "server_error", "code": None}})

    def test_readiness_fits_its_schema(self) -> None:
        readiness = WorkerReadiness(lambda: False)
        answers = [readiness.answer()]
        readiness.was_ready = True
        answers.append(readiness.answer())
        readiness.is_draining = True
        answers.append(readiness.answer())
        described = DOCUMENT["paths"]["/readyz"]["get"]["responses"]
        for status, body in answers:
            assert str(status) in described
            assert fits("Readiness", body)
