"""Write a language model small enough for a test, and two adapters that were "fine-tuned" from it.

The files are GGUF files like any other: llama.cpp loads them, runs attention and feed-forward layers over
them and applies the adapters as it does for a model of seventy billion weights. Only the size is a toy's
(half a megabyte), and the weights are drawn by a seeded generator instead of learnt, so that nothing is
downloaded and every machine writes the same bytes.

So that a test can read the answers, the vocabulary is the words of `voices.py`. Embedding dimension 0 is a
constant that no layer writes to, and an adapter adds a large multiple of it to the scores of the words of
its voice: `sailor` answers about the sea, `baker` about bread, and the model without adapters about a
garden. Which words come, and in which order, is decided by the random layers below.

Runs in the environment of `requirements-e2e.lock` only (it needs `gguf` and `numpy`).
"""

from pathlib import Path

import gguf
import numpy as np
from voices import ADAPTERS, BASE, VOICES

CHAT_TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"

_SEED = 20260101
_CONTEXT_TOKENS = 2048
_EMBEDDING = 64
_HEADS = 4
_LAYERS = 2
_FEED_FORWARD = 128
_RANK = 4
_VOICE_BIAS = 60.0


def write_models(folder: Path) -> tuple[Path, list[Path]]:
    """Write the base model and its adapters to `folder`; return their paths, adapters in order of id."""
    tokens, _, _ = _vocabulary()
    base = folder / "base.gguf"
    _write_base(base)
    adapters = []
    for voice in ADAPTERS:
        path = folder / f"{voice}.gguf"
        _write_adapter(path, tokens, voice)
        adapters.append(path)
    return base, adapters


def _vocabulary() -> tuple[list[str], list[float], list[int]]:
    """Return tokens, scores and types: control tokens, the 256 bytes for any other text, then the words."""
    kinds = gguf.TokenType
    rows = [("<unk>", 0.0, kinds.UNKNOWN), ("<s>", 0.0, kinds.CONTROL), ("</s>", 0.0, kinds.CONTROL)]
    rows += [(f"<0x{byte:02X}>", 0.0, kinds.BYTE) for byte in range(256)]
    rows += [(f"\u2581{word}", -1.0, kinds.NORMAL) for words in VOICES.values() for word in words]
    tokens, scores, types = zip(*rows, strict=True)
    return list(tokens), list(scores), [int(kind) for kind in types]


def _rows_of(tokens: list[str], voice: str) -> list[int]:
    return [tokens.index(f"\u2581{word}") for word in VOICES[voice]]


def _write_base(path: Path) -> None:
    tokens, scores, types = _vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tunegate-tiny")
    writer.add_context_length(_CONTEXT_TOKENS)
    writer.add_embedding_length(_EMBEDDING)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_EMBEDDING // _HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, tensor in _weights(tokens).items():
        writer.add_tensor(name, tensor.astype(np.float32))
    _finish(writer)


def _weights(tokens: list[str]) -> dict[str, np.ndarray]:
    """Return the model's tensors by their GGUF name; shapes are (outputs, inputs)."""
    draw = np.random.default_rng(_SEED)

    def random(outputs: int, inputs: int) -> np.ndarray:
        return draw.standard_normal((outputs, inputs)) / np.sqrt(inputs)

    def residual(inputs: int) -> np.ndarray:
        """Return a matrix that writes to the residual stream, but never to the constant in dimension 0."""
        matrix = random(_EMBEDDING, inputs)
        matrix[0] = 0
        return matrix

    embedding = draw.standard_normal((len(tokens), _EMBEDDING))
    embedding[:, 0] = 2.0
    output = random(len(tokens), _EMBEDDING) * 8
    # Without an adapter only the base's voice speaks: bytes and control tokens stay far below every word.
    output[:, 0] = -_VOICE_BIAS
    output[_rows_of(tokens, BASE), 0] = 0
    weights = {
        "token_embd.weight": embedding,
        "output_norm.weight": np.ones(_EMBEDDING),
        "output.weight": output,
    }
    for layer in range(_LAYERS):
        block = f"blk.{layer}."
        weights |= {
            f"{block}attn_norm.weight": np.ones(_EMBEDDING),
            f"{block}attn_q.weight": random(_EMBEDDING, _EMBEDDING),
            f"{block}attn_k.weight": random(_EMBEDDING, _EMBEDDING),
            f"{block}attn_v.weight": random(_EMBEDDING, _EMBEDDING),
            f"{block}attn_output.weight": residual(_EMBEDDING),
            f"{block}ffn_norm.weight": np.ones(_EMBEDDING),
            f"{block}ffn_gate.weight": random(_FEED_FORWARD, _EMBEDDING),
            f"{block}ffn_up.weight": random(_FEED_FORWARD, _EMBEDDING),
            f"{block}ffn_down.weight": residual(_FEED_FORWARD),
        }
    return weights


def _write_adapter(path: Path, tokens: list[str], voice: str) -> None:
    """Write a LoRA adapter: `output.weight` gains B·A, which lifts the words of `voice` above all others."""
    draw = np.random.default_rng([_SEED, ADAPTERS.index(voice)])
    reads = draw.standard_normal((_RANK, _EMBEDDING)) / np.sqrt(_EMBEDDING)
    reads[0] = 0
    reads[0, 0] = 1
    writes = draw.standard_normal((len(tokens), _RANK))
    writes[:, 0] = 0
    writes[_rows_of(tokens, voice), 0] = 3 * _VOICE_BIAS
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(_RANK))  # alpha / rank = 1: B·A unscaled
    writer.add_tensor("output.weight.lora_a", reads.astype(np.float32))
    writer.add_tensor("output.weight.lora_b", writes.astype(np.float32))
    _finish(writer)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
