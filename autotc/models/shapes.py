"""Dimensions of towers and decoders, and where an attention module makes queries and keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from autotc.lazy import Tensor, nn


@dataclass(frozen=True)
class TowerShape:
    """Dimensions of a vision or audio tower.

    Attributes:
        width, heads, hidden: model width, attention heads, MLP width.
        gated: whether the MLP has three matrices.
        blocks: number of blocks.
        unit: rows of the tower per output unit.
        tiled: whether it takes a batch of tiles (T, L, D), padded to the longest, and not one packed sequence (S, D).
    """

    width: int
    heads: int
    hidden: int
    gated: bool
    blocks: int
    unit: int
    tiled: bool = False


@dataclass(frozen=True)
class Recurrence:
    """Dimensions of a gated delta-net (2412.06464), which keeps a state in place of keys and values.

    Attributes:
        key_heads, key_dim: heads of queries and of keys, and their width.
        value_heads, value_dim: heads of values, and their width; a head's state is (key_dim, value_dim).
        kernel: length of the causal convolution over queries, keys and values.
    """

    key_heads: int
    key_dim: int
    value_heads: int
    value_dim: int
    kernel: int

    @property
    def mixed(self) -> int:
        """Width of a token's queries, keys and values side by side."""
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim


@dataclass(frozen=True)
class LayerShape:
    """Dimensions of a decoder layer.

    Attributes:
        heads, kv_heads, head_dim: of its attention.
        hidden: MLP width that a token passes through; of all its experts together where they are a mixture.
        routes: outputs of the MLP's routers and gates, one for each expert; 0 without any.
        gated: whether attention's output is multiplied by a gate, projected with the queries and as wide.
        recurrence: what stands in place of attention, if anything does.
        kv_matrices: that make its keys and values: 2; 1 where keys are values too; 0 where another layer's are taken.
        extra: weights that a token passes beside those, in matrices.
    """

    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    routes: int = 0
    gated: bool = False
    recurrence: Recurrence | None = None
    kv_matrices: int = 2
    extra: int = 0


@dataclass(frozen=True)
class DecoderShape:
    """Dimensions of a language model.

    Attributes:
        width, vocabulary: as the configuration has them.
        layers: its layers.
        entry: weights that a token passes in front of the first layer, in matrices.
    """

    width: int
    vocabulary: int
    layers: tuple[LayerShape, ...]
    entry: int = 0

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.layers)

    @property
    def attending(self) -> tuple[int, ...]:
        """Layers that have attention on keys of their own, and so scores of it."""
        return tuple(i for i, layer in enumerate(self.layers) if layer.recurrence is None and layer.kv_matrices)


@dataclass(frozen=True)
class Projections:
    """Where an attention module makes queries, keys and, in a decoder, values.

    Attributes:
        query, key: the linear layers.
        heads, kv_heads: their numbers of heads.
        scaling: factor of the scores.
        fused: whether ``query`` and ``key`` are one layer that makes queries, keys and values side by side.
        norms: of queries and keys, behind the linear layers and in front of the rotation, if any.
        norm_heads: whether they take each head's vector (..., D), and not all heads side by side (..., heads x D).
        gated: whether each head's query stands in front of a gate as wide, made by the same layer.
        value: the layer that makes a decoder's values, which may be the keys'; None in a tower.
        value_norm: of each head's values, if any.
        rotation: rotates queries and keys (B, heads, L, D) by a decoder's position embeddings, given as further
            arguments; None in a tower.
    """

    query: nn.Module
    key: nn.Module
    heads: int
    kv_heads: int
    scaling: float
    fused: bool = False
    norms: tuple[nn.Module, nn.Module] | None = None
    norm_heads: bool = True
    gated: bool = False
    value: nn.Module | None = None
    value_norm: nn.Module | None = None
    rotation: Callable[..., tuple[Tensor, Tensor]] | None = None

    def rotate(self, query: Tensor, key: Tensor, position_embeddings: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Queries and keys (B, heads, L, D) with a decoder's rotary embedding applied."""
        assert self.rotation is not None  # of a decoder layer
        return self.rotation(query, key, *position_embeddings)

    def split(self, projected: Tensor, part: Literal["query", "key", "value"]) -> Tensor:
        """Queries, keys or values as projected (..., heads x D), normed: (..., heads, D)."""
        if part == "value":
            values = projected.reshape(*projected.shape[:-1], self.kv_heads, -1)
            return values if self.value_norm is None else self.value_norm(values)
        heads = self.heads if part == "query" else self.kv_heads
        norm = self.norms[0 if part == "query" else 1] if self.norms is not None else None
        if norm is not None and not self.norm_heads:
            projected = norm(projected)
        out = projected.reshape(*projected.shape[:-1], heads, -1)
        if self.gated and part == "query":
            out = out.chunk(2, dim=-1)[0]
        if norm is not None and self.norm_heads:
            out = norm(out)
        return out


def plain_projections(attention: Any) -> Projections:
    """Queries and keys of a tower's attention that is written as CLIP's or Whisper's."""
    scaling = attention.scale if hasattr(attention, "scale") else attention.scaling
    return Projections(attention.q_proj, attention.k_proj, attention.num_heads, attention.num_heads, scaling)


def child(module: nn.Module, name: str) -> nn.Module:
    """A submodule by its dotted name."""
    return module.get_submodule(name)
