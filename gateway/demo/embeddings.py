"""`POST /v1/embeddings`: deterministic unit vectors, near one another for texts that share words."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
from collections.abc import Mapping
from typing import Any

from gateway.demo.answer import Answer
from gateway.demo.chat_request import model_of
from gateway.demo.completions import Prompt, parse_prompts
from gateway.demo.directive import find_directive
from gateway.demo.errors import ApiError
from gateway.demo.fields import Fields, wrong_value

DIMENSIONS = 1536
MOST_INPUTS = 2048
_PLACES_PER_WORD = 32
_WORD = re.compile(r"[^\W_]+")


def answer_embedding(body: Mapping[str, Any]) -> Answer:
    """Check and answer. Raises `ApiError`."""
    fields = Fields(body)
    model = model_of(fields, "embedding", "This model is not supported in the v1/embeddings endpoint.")
    prompts = parse_prompts("input", fields.required("input"))
    if len(prompts) > MOST_INPUTS or any(not prompt.tokens for prompt in prompts):
        raise ApiError(400, f"'input' must hold 1 to {MOST_INPUTS} texts, none of them empty.", param="input")
    dimensions = fields.integer("dimensions", 1, DIMENSIONS) or DIMENSIONS
    encoding = fields["encoding_format"] or "float"
    if encoding not in ("float", "base64"):
        raise wrong_value("encoding_format", encoding, ("float", "base64"))
    directive = find_directive(prompts[-1].text, model.id)
    directive.check()
    total = sum(prompt.tokens for prompt in prompts)
    vectors = [embed(_seed(prompt), dimensions) for prompt in prompts]
    document = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _encode(vector) if encoding == "base64" else vector,
            }
            for index, vector in enumerate(vectors)
        ],
        "model": model.id,
        "usage": {"prompt_tokens": total, "total_tokens": total},
    }
    return Answer(document, None, directive)


def embed(text: str, dimensions: int) -> list[float]:
    """A unit vector: each word adds to a few places of its own, on faint noise that is the whole text's."""
    noise = hashlib.shake_256(text.encode(errors="replace")).digest(DIMENSIONS)
    vector = [(byte - 127.5) / 2550 for byte in noise]
    for word in _WORD.findall(text.lower()):
        places = struct.unpack(
            f"<{_PLACES_PER_WORD}H", hashlib.shake_128(word.encode()).digest(2 * _PLACES_PER_WORD)
        )
        for place in places:
            vector[place % DIMENSIONS] += 1.0 if place & 0x8000 else -1.0
    vector = vector[:dimensions]
    length = math.sqrt(sum(number * number for number in vector)) or 1.0
    return [number / length for number in vector]


def _seed(prompt: Prompt) -> str:
    """What the vector is made from: the text, or for token ids, which the demo cannot read, their number."""
    return prompt.text or f"{prompt.tokens} tokens"


def _encode(vector: list[float]) -> str:
    """Little-endian 32-bit floats in base64, as the official SDK asks for by default."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
