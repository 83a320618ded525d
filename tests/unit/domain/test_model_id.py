"""Every form of a fine-tuned id, read from left to right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.model_id import ModelId, ModelKind, parse_model_id

HEX = "b044a9d3cf9c4228b5d393567f693b83"


@pytest.mark.parametrize(
    ("text", "base", "org", "suffix", "uid", "checkpoint"),
    [
        ("ft:gpt-4o-2024-08-06:acme:it:7q8mpxmy", "gpt-4o-2024-08-06", "acme", "it", "7q8mpxmy", None),
        ("ft:gpt-4.1-2025-04-14:acme::BPsmyr4l", "gpt-4.1-2025-04-14", "acme", None, "BPsmyr4l", None),
        ("ft:gpt-4o-mini:openai::7p4lURel", "gpt-4o-mini", "openai", None, "7p4lURel", None),
        ("ft:gpt-3.5-turbo-0613:personal::abc", "gpt-3.5-turbo-0613", "personal", None, "abc", None),
        ("ft:gpt-4o:org:name", "gpt-4o", "org", "name", None, None),
        (
            "ft:gpt-4o-mini-2024-07-18:my-org:custom-suffix:96olL566:ckpt-step-2000",
            *("gpt-4o-mini-2024-07-18", "my-org", "custom-suffix", "96olL566", "ckpt-step-2000"),
        ),
        ("ft:gpt-4o", "gpt-4o", None, None, None, None),
        ("ft:a:b:c:d:e:more:parts", "a", "b", "c", "d", "e"),
    ],
)  # fmt: skip
def test_official_ids(
    text: str, base: str, org: str | None, suffix: str | None, uid: str | None, checkpoint: str | None
) -> None:
    assert parse_model_id(text) == ModelId(text, ModelKind.OFFICIAL, base, org, suffix, uid, checkpoint)


@pytest.mark.parametrize(
    ("text", "base", "org"),
    [
        ("curie:ft-uoft-ml-group-2022-09-26-01-07-30", "curie", "uoft-ml-group"),
        ("davinci:ft-personal:name-2023-05-23-20-00-00", "davinci", "personal"),
        ("davinci:ft-odd", "davinci", None),
    ],
)
def test_legacy_ids(text: str, base: str, org: str | None) -> None:
    assert parse_model_id(text) == ModelId(text, ModelKind.LEGACY, base, org)


def test_azure_job_results() -> None:
    text = f"gpt-4.1-mini-2025-04-14.ft-{HEX}"

    assert parse_model_id(text) == ModelId(text, ModelKind.AZURE, "gpt-4.1-mini-2025-04-14")


@pytest.mark.parametrize(
    "text", ["gpt-6-luna", "accounts/a/models/b#c", "sql-lora", "ft:", "ft::org", "", "FT:a:b:c:d"]
)
def test_the_rest_is_opaque(text: str) -> None:
    assert parse_model_id(text) == ModelId(text, ModelKind.OPAQUE)


@given(st.text())
def test_nothing_fails_and_the_text_is_kept(text: str) -> None:
    assert parse_model_id(text).text == text
    assert parse_model_id("ft:" + text).needs_owner


@pytest.mark.parametrize(
    ("text", "owns", "is_owned"),
    [
        ("ft:g:acme:s:u", ["acme"], True),
        ("ft:g:acme:s:u", ["other", "acme"], True),
        ("ft:g:acme:s:u", ["Acme"], False),
        ("ft:g:acme:s:u", [], False),
        ("ft:g:acme:s:u", ["*"], True),
        ("ft:g", ["acme"], False),
        ("ft:g", ["*"], True),
    ],
)
def test_ownership_goes_by_the_org_segment(text: str, owns: list[str], is_owned: bool) -> None:
    assert parse_model_id(text).is_owned_by(owns) is is_owned
