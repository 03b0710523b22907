"""FLOPs of a decoder layer, and what it keeps of a prompt."""

from __future__ import annotations

from autotc.models import LayerShape

CHUNK = 64
"""Tokens that the delta rule takes at once (2412.06464, section 3.3; `torch_chunk_gated_delta_rule`)."""
STATE_BYTES = 4
"""Size of an element of a recurrent state, which is float32 whatever the model's dtype."""


def layer_flops(width: int, layer: LayerShape, tokens: int) -> int:
    """FLOPs of one decoder layer on one row of so many tokens.

    The MLP has three matrices, and a router where experts are chosen. Of attention, queries, gate and output are
    matrices (width x heads x head_dim), keys and values (width x kv_heads x head_dim); scores and their weighted sum
    multiply all pairs.

    Args:
        width: of the language model.
        layer: its dimensions.
        tokens: of the row, at least 1.
    """
    weights = width * (3 * layer.hidden + layer.routes) + layer.extra
    if layer.recurrence is not None:
        return 2 * tokens * weights + _recurrence_flops(width, layer, tokens)
    attention = layer.heads * layer.head_dim
    weights += width * ((2 + layer.gated) * attention + layer.kv_matrices * layer.kv_heads * layer.head_dim)
    return 2 * tokens * weights + 4 * tokens * tokens * attention


def _recurrence_flops(width: int, layer: LayerShape, tokens: int) -> int:
    """FLOPs of a gated delta-net: projections, convolution, and the delta rule a chunk at a time, the last one padded.

    In a chunk of C tokens, a value head multiplies keys with keys and queries with keys (C x C x key_dim each), solves
    a triangular system for values and keys (C x C each, halved), reads its state twice and writes it once (C x key_dim
    x value_dim each), and adds what the chunk itself has to say (C x C x value_dim).
    """
    shape = layer.recurrence
    assert shape is not None  # asked before
    values = shape.value_heads * shape.value_dim
    weights = width * (shape.mixed + 2 * values + 2 * shape.value_heads)  # mixed, gate, output; beta and decay
    convolved = tokens + shape.kernel - 1
    padded = -(-tokens // CHUNK) * CHUNK
    rule = 4 * CHUNK * shape.key_dim + CHUNK * (shape.key_dim + shape.value_dim)
    rule += 6 * shape.key_dim * shape.value_dim + 2 * CHUNK * shape.value_dim
    return 2 * tokens * weights + 2 * convolved * shape.mixed * shape.kernel + padded * shape.value_heads * rule


def kept_bytes(layer: LayerShape, tokens: int, window: int | None, element_bytes: int) -> int:
    """Bytes that a layer keeps of one row of so many tokens: keys and values, or a recurrent state of one size.

    Args:
        layer: its dimensions.
        tokens: of the row.
        window: tokens that its attention reaches back, the token itself among them; None for all of them.
        element_bytes: size of an element of keys and values.
    """
    shape = layer.recurrence
    if shape is None:
        held = tokens if window is None else min(tokens, window - 1)
        return 0 if not layer.kv_matrices else held * 2 * layer.kv_heads * layer.head_dim * element_bytes
    state = shape.value_heads * shape.key_dim * shape.value_dim
    return shape.kernel * shape.mixed * element_bytes + state * STATE_BYTES
