"""docs/observability.md has every field of an access line."""

import json
import re

import msgspec

from gateway.telemetry.access_log import FIELDS, Own, Shared
from tests.unit.docs.pages import BY_NAME

PAGE = BY_NAME["docs/observability.md"]


def test_every_field_is_described_once() -> None:
    described = [name for row in PAGE.table("field") for name in re.findall(r"`(\w+)`", row["field"])]
    assert sorted(described) == sorted(FIELDS)


def test_the_example_is_such_a_line() -> None:
    (example,) = (json.loads(fence.text) for fence in PAGE.fences if '"event":"request"' in fence.text)
    assert example.keys() <= FIELDS
    msgspec.convert(example, Own)
    msgspec.convert(example, Shared)
