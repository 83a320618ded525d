"""What a compatible endpoint does not take, so that calls are changed for it. `upstreams probe` finds them.

Only what has to be told stands here. What shows by itself is put right at every upstream without a word:
error objects of other shapes, numeric codes, usage in every chunk or in none, a missing `[DONE]`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gateway.config.fields import BodyField, Flag, Model, Number

_SAID_ELSEWHERE = {
    "max_tokens": "say max_tokens: max_completion_tokens",
    "max_completion_tokens": "say max_tokens: max_tokens",
    "n": "say n: false",
    "stream_options": "say stream_usage: false at the upstream",
}


def _is_no_quirk_of_its_own(field: str) -> str:
    if field in _SAID_ELSEWHERE:
        raise ValueError(_SAID_ELSEWHERE[field])
    return field


class QuirkSettings(Model):
    """Differences of a compatible endpoint. By the defaults it takes what the official API takes."""

    max_tokens: Literal["max_tokens", "max_completion_tokens"] | None = Field(
        default=None,
        description="The one name that chat completions may have there for the cap on an answer; a cap under "
        "the other name is sent under this one. null = it takes both.",
    )
    n: Flag = Field(
        default=True, description="It takes `n`; false = `n: 1`, which asks for nothing, is left out."
    )
    min_temperature: Annotated[Number, Field(gt=0, le=2)] | None = Field(
        default=None, description="The lowest temperature it takes, where 0 is refused; lower ones become it."
    )
    max_top_p: Annotated[Number, Field(gt=0, lt=1)] | None = Field(
        default=None, description="The highest `top_p` it takes, where 1 is refused; higher ones become it."
    )
    developer_role: Flag = Field(
        default=True, description="It takes messages of the role `developer`; false = they are `system` ones."
    )
    system_messages: Literal["any", "first", "none"] = Field(
        default="any",
        description="`first` = one system message and in front: all of them are joined there. `none` = no "
        "such role: their text goes in front of the first message of the user.",
    )
    content_parts: Flag = Field(
        default=True,
        description="It takes the content of a message as a list; false = lists of texts are joined by line "
        "ends. A list with anything else in it stays.",
    )
    null_content: Flag = Field(
        default=True,
        description="It takes messages of the assistant without content, beside calls of tools; false = "
        "theirs is empty text.",
    )
    message_names: Flag = Field(
        default=True, description="It takes `name` in messages; false = names are left out."
    )
    reasoning_content: Flag = Field(
        default=True,
        description="It takes reasoning (`reasoning_content`, `reasoning`) in messages of the assistant that "
        "are sent back; false = that is left out.",
    )
    strict_tools: Flag = Field(
        default=True,
        description="It takes `strict` in tools; false = it is left out, and nothing held to it.",
    )
    refuses: tuple[Annotated[BodyField, AfterValidator(_is_no_quirk_of_its_own)], ...] = Field(
        default=(),
        description="Further fields of a body that it refuses, such as `parallel_tool_calls` or `store`; "
        "they are left out.",
    )
    model_list: Flag = Field(
        default=True, description="It has `GET /models`; false = nobody asks, so `models` must list them."
    )
