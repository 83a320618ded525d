from __future__ import annotations

import pytest

from gateway.pricing.output_limits import OUTPUT_LIMITS, max_output_tokens


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4.1", 32_768),
        ("gpt-4.1-mini-2025-04-14", 32_768),
        ("ft:gpt-4.1-nano-2025-04-14:acme::x", 32_768),
        ("ft:gpt-4o-mini-2024-07-18:acme:s:x:ckpt-step-100", 16_384),
        ("gpt-4o-2024-11-20", 16_384),
        ("gpt-4o-2024-05-13", 4_096),
        ("ft:o4-mini-2025-04-16:acme:sec:x", 100_000),
        ("o3-mini-2025-01-31", 100_000),
        ("gpt-4-0613", 8_192),
        ("gpt-4.1-mini-2025-04-14.ft-b044a9d3cf9c4228b5d393567f693b83", 32_768),
        ("gpt-6-luna", 128_000),
        ("gpt-4-32k", 32_000),  # the whole context
        ("support-v3", None),
        ("ft:gpt-unheard-of:acme::x", None),
        ("", None),
    ],
)
def test_known_models(model: str, tokens: int | None) -> None:
    assert max_output_tokens(model) == tokens


def test_no_name_stands_twice() -> None:
    names = [name for _, names in OUTPUT_LIMITS for name in names]
    assert len(set(names)) == len(names)
