"""Dimensions of towers and decoders, and where an attention module makes queries and keys."""

from __future__ import annotations

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
class DecoderShape:
    """Dimensions of a language model.

    Attributes:
        width, heads, kv_heads, head_dim, layers, vocabulary: as the configuration has them.
        hidden: MLP width that a token passes through; of all its experts together where they are a mixture.
        experts: number of experts that a router chooses from; 0 without one.
    """

    width: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    layers: int
    vocabulary: int
    experts: int = 0


@dataclass(frozen=True)
class Projections:
    """Where an attention module makes queries and keys.

    Attributes:
        query, key: the linear layers.
        heads, kv_heads: their numbers of heads.
        scaling: factor of the scores.
        fused: whether ``query`` and ``key`` are one layer that makes queries, keys and values side by side.
        norms: of queries and keys, behind the linear layers and in front of the rotation, if any.
        norm_heads: whether they take each head's vector (..., D), and not all heads side by side (..., heads x D).
    """

    query: nn.Module
    key: nn.Module
    heads: int
    kv_heads: int
    scaling: float
    fused: bool = False
    norms: tuple[nn.Module, nn.Module] | None = None
    norm_heads: bool = True

    def split(self, projected: Tensor, part: Literal["query", "key"]) -> Tensor:
        """Queries or keys as projected (..., heads x D), normed: (..., heads, D)."""
        heads = self.heads if part == "query" else self.kv_heads
        norm = self.norms[0 if part == "query" else 1] if self.norms is not None else None
        if norm is not None and not self.norm_heads:
            projected = norm(projected)
        out = projected.reshape(*projected.shape[:-1], heads, -1)
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
