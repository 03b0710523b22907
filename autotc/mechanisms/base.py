"""The contract of every mechanism, written once: `Tokens` in, `Reduction` out.

A mechanism is a pure function on tensors. It never sees a module, never looks across rows, and returns exactly the
number of survivors it was asked for. What it needs beside the tokens (attention rows, keys, ...) it declares in
``needs``; the runtime computes just that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from autotc.errors import MechanismError
from autotc.vocabulary import Family, Location, Modality

Score = Literal[
    "last_query_attention",
    "text_attention",
    "received_attention",
    "global_query_attention",
    "attention_rank",
    "cls_attention",
    "middle_attention",
    "text_similarity",
    "text_features",
    "keys",
    "text_keys",
    "representation_shift",
    "concurrent_retention",
]
"""What a mechanism may ask the runtime for, beside the tokens. (B, N) float unless a shape is given; T is the number of
tokens of the query span, right-aligned, zeros on padding.

- ``last_query_attention`` (decoder): attention of the prompt's last token to each token.
- ``text_attention`` (B, N, T) (decoder): attention of each query-span token to each token.
- ``received_attention``: mean attention a token receives from its item's tokens; in towers the item's sum to 1.
- ``global_query_attention`` (decoder): softmax over the item's keys for the mean of its queries, before rotation.
- ``attention_rank`` (decoder): PageRank of each token on the layer's sharpened attention between the prompt's tokens.
- ``cls_attention`` (projector): the class token's attention, the item's tokens scaled to sum to 1, in the tower's
  next-to-last block; ``received_attention``
  there where the tower has no class token.
- ``middle_attention`` (projector): ``received_attention`` in the block in the middle of the tower. Which blocks these
  are, the adapter says (`autotc.models.adapter.Adapter.score_block`).
- ``text_similarity``: cosine to the mean embedding of the query span.
- ``text_features`` (B, T, D): the query span's tokens as they stand where the stage acts.
- ``keys`` (B, N, Dk): mean over heads, before rotation: of the tower at encoder and projector, of the layer at decoder.
- ``text_keys`` (B, T, Dk) (decoder): the query span's keys.
- ``representation_shift``: norm of the change that the block before made to a token.
- ``concurrent_retention``: share kept, by earlier stages, of the companion modality's tokens that overlap a token in
  time; 1 where there is none (see `Mechanism.companion`).
"""
LAYER_SCORES: frozenset[Score] = frozenset(
    {
        "last_query_attention",
        "text_attention",
        "received_attention",
        "global_query_attention",
        "attention_rank",
        "keys",
        "text_keys",
    }
)
"""Scores that the decoder computes from a layer's queries and keys."""
TOWER_SCORES: frozenset[Score] = frozenset({"received_attention", "cls_attention", "middle_attention", "keys"})
"""Scores that a tower computes from a block's queries and keys."""
TEXT_SCORES: frozenset[Score] = frozenset({"text_attention", "text_similarity", "text_features", "text_keys"})
"""Scores that read the query span."""
RANK_ROUNDS = 5
"""Rounds of ``attention_rank``, as in AIM's official code (2412.03248)."""
RANK_TEMPERATURE = 0.1
"""What the attention scores of ``attention_rank`` are divided by there."""
SCORES_AT: dict[Location, frozenset[Score]] = {
    "input": frozenset(),
    "encoder": TOWER_SCORES - {"middle_attention"} | {"representation_shift"},
    "projector": TOWER_SCORES | {"text_similarity", "text_features", "concurrent_retention"},
    "decoder": LAYER_SCORES | {"text_similarity", "text_features", "representation_shift", "concurrent_retention"},
}
"""Scores that exist at each location."""


def target_count(keep_ratio: float, n0: int, left: int) -> int:
    """The one rounding rule: round(keep_ratio x n0) half up, at most what is left, at least 1.

    Args:
        keep_ratio: in (0, 1], relative to the item's uncompressed token count at the language model.
        n0: that count.
        left: tokens the item still has.
    """
    return max(1, min(left, int(keep_ratio * n0 + 0.5 + 1e-9)))


def pruning_rate(keep_ratio: float) -> float:
    """The share to prune that serving engines are told, as a decimal: what `autotc export` prints."""
    return round(1.0 - keep_ratio, 12)


def engine_count(keep_ratio: float, n0: int) -> int:
    """Tokens that serving engines leave of ``n0``, rounded down in their own binary arithmetic.

    At a rate of 0.9 they leave 9 of 100 tokens, since 1 - 0.9 lies below 0.1 in binary (vllm-project/vllm,
    `vllm/multimodal/video_prune/evs.py`; sgl-project/sglang, `srt/multimodal/evs/evs_core.py`; NVIDIA/TensorRT-LLM,
    `tensorrt_llm/inputs/evs.py`).
    """
    return int(n0 * (1.0 - pruning_rate(keep_ratio)))


@dataclass(frozen=True)
class Tokens:
    """A batch of items, one row each, right-aligned to the longest.

    Attributes:
        features: (B, N, D) float.
        valid: (B, N) bool; False marks the padding on the left.
        grid: (B, N, 3) long, place (t, y, x) in the item's own grid; audio uses t alone.
        box: (B, N, 6) float, source extent (t0, t1, y0, y1, x0, x1) in seconds and pixels.
        mass: (B, N) float, how many original tokens each stands for; 0 on padding.
    """

    features: Tensor
    valid: Tensor
    grid: Tensor
    box: Tensor
    mass: Tensor

    @property
    def count(self) -> Tensor:
        """Valid tokens of each row, (B,) long."""
        return self.valid.sum(1)

    def unit_features(self) -> Tensor:
        """Features of norm 1, zeros on padding and where the norm is zero, (B, N, D) in at least float32."""
        x = self.features.float()
        unit: Tensor = x / x.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        return unit.masked_fill(~self.valid[..., None], 0.0)


def top_mask(score: Tensor, count: Tensor, valid: Tensor) -> Tensor:
    """Mask of the ``count`` highest-scoring valid tokens of each row; ties go to the earlier token, NaN ranks last.

    Args:
        score: (B, N) float.
        count: (B,) long, at most the row's valid tokens.
        valid: (B, N) bool.

    Returns:
        (B, N) bool.
    """
    score = torch.nan_to_num(score.float(), nan=-3e38, posinf=3e38, neginf=-3e38).masked_fill(~valid, -torch.inf)
    order = score.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank.scatter_(1, order, torch.arange(score.shape[1], device=score.device).expand_as(order))
    return (rank < count[:, None]) & valid


@dataclass(frozen=True)
class Work:
    """Shape of one item's reduction, for counting what it multiplies.

    Attributes:
        n, m: tokens before and after.
        d: width of the features.
        k: width of the keys; of the features where the stage gets no keys.
        frames: of the item's grid.
        query: tokens of the query span.
    """

    n: int
    m: int
    d: int
    k: int
    frames: int
    query: int


@dataclass(frozen=True)
class Reduction:
    """A sparse matrix from the N tokens of each row to the M it keeps.

    ``survivor[row, dst] = sum of weight x token[row, src]`` over the edges of that row and dst.

    Attributes:
        keep: (B, M) long, ascending: the token whose position each survivor takes; -1 pads on the left.
        row, src, dst: (E,) long; edges of the sparse matrix.
        weight: (E,) float. Averaging mechanisms' weights sum to 1 per survivor.
        size: N.
    """

    keep: Tensor
    row: Tensor
    src: Tensor
    dst: Tensor
    weight: Tensor
    size: int
    _host: tuple[Tensor, bool] | None = None

    # The constructors copy the mask of the survivors to the host: the one synchronisation with an accelerator that a
    # stage plans for. What follows from it (counts, columns, shapes) is worked out there.

    @property
    def count(self) -> Tensor:
        """Survivors of each row, (B,) long."""
        return (self.keep >= 0).sum(1)

    @property
    def kept(self) -> Tensor:
        """``keep`` on the host."""
        return self.keep.cpu() if self._host is None else self._host[0]

    @property
    def counts(self) -> list[int]:
        """``count`` on the host."""
        out: list[int] = (self.kept >= 0).sum(1).tolist()
        return out

    @property
    def is_selection(self) -> bool:
        """Whether every survivor is one token, unchanged."""
        if self._host is not None and self._host[1]:
            return True
        alone = self._edges_per_survivor() == (self.keep >= 0)
        return bool(alone.all() & (self.weight == 1).all())

    @staticmethod
    def _positions(mask: Tensor) -> tuple[Tensor, Tensor]:
        """Right-aligned ``keep`` (B, M) of a mask (B, N), and each kept token's column in it (B, N; -1 elsewhere)."""
        count = mask.sum(1)
        width = int(count.max()) if mask.numel() else 0
        column = mask.cumsum(1) - 1 + (width - count)[:, None]
        column = torch.where(mask, column, -1)
        keep = torch.full((mask.shape[0], width), -1, dtype=torch.long, device=mask.device)
        row, src = mask.nonzero(as_tuple=True)
        keep[row, column[row, src]] = src
        return keep, column

    @classmethod
    def identity(cls, valid: Tensor) -> Reduction:
        """Every valid token survives as it is; ``valid`` (B, N) bool."""
        return cls.select(valid)

    @classmethod
    def select(cls, mask: Tensor) -> Reduction:
        """The tokens of ``mask`` (B, N) bool survive as they are; the rest is dropped."""
        device, host = mask.device, mask.cpu()
        keep, column = cls._positions(host)
        row, src = host.nonzero(as_tuple=True)
        row, src, dst = torch.stack([row, src, column[row, src]]).to(device, non_blocking=True)
        weight = torch.ones(len(row), device=device)
        return cls(keep.to(device, non_blocking=True), row, src, dst, weight, mask.shape[1], (keep, True))

    @classmethod
    def merge(cls, mask: Tensor, target: Tensor, mass: Tensor) -> Reduction:
        """Each token flows into one survivor, averaged by mass.

        Args:
            mask: (B, N) bool, survivors (their own positions).
            target: (B, N) long, the surviving token each token flows into; itself for survivors; -1 drops it.
            mass: (B, N) float, weights of the average.

        Raises:
            MechanismError: a token flows into one that does not survive.
        """
        device = mask.device
        alive, flow = torch.stack([mask.long(), target]).cpu()
        keep, column = cls._positions(alive.bool())
        row, src = (flow >= 0).nonzero(as_tuple=True)
        dst = column[row, flow[row, src]]
        if bool((dst < 0).any()):
            raise MechanismError("merge: a token flows into one that does not survive")
        selection = len(row) == int(alive.sum()) and bool((flow[row, src] == src).all())
        row, src, dst = torch.stack([row, src, dst]).to(device, non_blocking=True)
        share = mass[row, src].float()
        total = torch.zeros(keep.shape, device=device).index_put_((row, dst), share, accumulate=True)
        weight = torch.ones_like(share) if selection else share / total[row, dst]
        return cls(keep.to(device, non_blocking=True), row, src, dst, weight, mask.shape[1], (keep, selection))

    @classmethod
    def linear(cls, mask: Tensor, row: Tensor, src: Tensor, dst: Tensor, weight: Tensor) -> Reduction:
        """Any sparse matrix (pooling, recycling, low-pass transforms).

        Args:
            mask: (B, N) bool, tokens whose positions the survivors take.
            row, src, dst: (E,) long; ``dst`` counts a row's survivors from 0 in ascending order of their positions.
            weight: (E,) float, signed.
        """
        host = mask.cpu()
        keep, _ = cls._positions(host)
        offset = (keep.shape[1] - host.sum(1)).to(mask.device, non_blocking=True)
        keep_there = keep.to(mask.device, non_blocking=True)
        return cls(keep_there, row, src, dst + offset[row], weight, mask.shape[1], (keep, False))

    def apply(self, values: Tensor) -> Tensor:
        """Survivors' values (B, M, ...) of tokens' values (B, N, ...); zeros on padding; dtype kept.

        Rows that are only selected are copied, so they stay bit-equal.
        """
        flat = values.reshape(values.shape[0], values.shape[1], -1)
        if self.is_selection:
            out = flat.new_zeros(*self.keep.shape, flat.shape[2])
            out[self.row, self.dst] = flat[self.row, self.src]
        else:
            wide = torch.promote_types(flat.dtype, torch.float32)
            n, m = flat.shape[1], self.keep.shape[1]
            # Padding may hold NaN, which a product would spread; no edge leads from it.
            used = torch.zeros(flat.shape[:2], dtype=torch.bool, device=flat.device)
            used[self.row, self.src] = True
            matrix = torch.sparse_coo_tensor(
                torch.stack([self.row * m + self.dst, self.row * n + self.src]),
                self.weight.to(wide),
                (self.keep.numel(), used.numel()),
                check_invariants=False,
            )
            rows = flat.to(wide).masked_fill(~used[..., None], 0.0).reshape(used.numel(), -1)
            sums = torch.sparse.mm(matrix, rows).view(*self.keep.shape, -1)
            out = sums.to(flat.dtype)
            alone = self._edges_per_survivor() == 1
            single = alone[self.row, self.dst] & (self.weight == 1)
            # Copies stay bit-equal: an edge that is no copy points behind the last survivor.
            total = self.keep.numel()
            at = torch.where(single, self.row * m + self.dst, total)
            source = at.new_full((total + 1,), -1).scatter_(0, at, self.row * n + self.src)[:total].view(-1, m)
            copies = flat.reshape(used.numel(), -1)[source.clamp_min(0)]
            out = torch.where((source >= 0)[..., None], copies, out)
        return out.reshape(*self.keep.shape, *values.shape[2:])

    def _edges_per_survivor(self) -> Tensor:
        ones = torch.ones_like(self.row)
        return torch.zeros_like(self.keep).index_put_((self.row, self.dst), ones, accumulate=True)

    def lifted(self, index: Tensor, shape: tuple[int, int]) -> Reduction:
        """The same reduction of the tokens of other rows, of which this one's are parts.

        Args:
            index: (B, N) long on the host, where each token stands in the flattened rows (R x L); -1 on padding. Tokens
                that stand nowhere here are dropped.
            shape: (R, L).
        """
        device = self.keep.device
        at = self.kept
        survivor = torch.where(at >= 0, index.gather(1, at.clamp_min(0)), -1)
        mask = torch.zeros(shape[0] * shape[1], dtype=torch.bool)
        mask[survivor[at >= 0]] = True
        keep, column = self._positions(mask.view(shape))
        there, survivors, columns = index.to(device), survivor.to(device), column.view(-1).to(device)
        source, target = there[self.row, self.src], survivors[self.row, self.dst]
        row = torch.div(source, shape[1], rounding_mode="floor")
        host = (keep, self._host is not None and self._host[1])
        return Reduction(
            keep.to(device), row, source - row * shape[1], columns[target], self.weight, shape[1], host
        )  # fmt: skip

    def rows(self, order: Sequence[int]) -> Reduction:
        """The reductions of the rows in ``order``, each as often as it is named."""
        parts = [(self.row == old).nonzero()[:, 0] for old in order]
        edges = torch.cat(parts)
        row = torch.repeat_interleave(torch.tensor([len(part) for part in parts], device=edges.device))
        return Reduction(
            self.keep[list(order)], row, self.src[edges], self.dst[edges], self.weight[edges], self.size
        )  # fmt: skip

    def mass(self, mass: Tensor) -> tuple[Tensor, Tensor]:
        """Mass of the survivors (B, M) and mass dropped (B,), from the tokens' mass (B, N).

        A token's mass flows to its survivors in proportion to the absolute weight of its edges.
        """
        strength = self.weight.abs()
        leaving = torch.zeros(mass.shape, device=mass.device).index_put_(
            (self.row, self.src), strength, accumulate=True
        )
        share = mass[self.row, self.src].float() * strength / leaving[self.row, self.src].clamp_min(1e-12)
        out = torch.zeros(self.keep.shape, device=mass.device).index_put_((self.row, self.dst), share, accumulate=True)
        return out, (mass.float() * (leaving == 0)).sum(1)

    def then(self, later: Reduction) -> Reduction:
        """The product of two reductions: this one first, then ``later`` on its survivors (later.size = M)."""
        if later.size != self.keep.shape[1]:
            raise MechanismError(f"compose: the second reduction takes {later.size} tokens, not {self.keep.shape[1]}")
        m, n, middle = later.keep.shape[1], self.size, self.keep.shape[1]
        # A join on the token in the middle: with these edges sorted by it, each later edge takes a run of them.
        flowing = self.row * middle + self.dst
        order = flowing.argsort(stable=True)
        run = torch.bincount(flowing, minlength=self.keep.numel())
        wanted = later.row * middle + later.src
        length = run[wanted]
        outer = torch.repeat_interleave(length)
        within = torch.arange(len(outer), device=outer.device) - (length.cumsum(0) - length)[outer]
        inner = order[(run.cumsum(0) - run)[wanted][outer] + within]
        entry = (later.row[outer] * m + later.dst[outer]) * n + self.src[inner]
        entry, at = torch.unique(entry, return_inverse=True)
        weight = self.weight.new_zeros(len(entry)).index_put_((at,), later.weight[outer] * self.weight[inner], True)
        survivor = entry // max(n, 1)
        row = survivor // max(m, 1)
        keep = torch.where(later.keep >= 0, self.keep.gather(1, later.keep.clamp_min(0)), -1) if middle else later.keep
        return Reduction(keep, row, entry - survivor * n, survivor - row * m, weight, n)

    def reduce(self, tokens: Tokens) -> Tokens:
        """The survivors as tokens: features and mass by the edges, grid of the kept position, box of all sources."""
        valid = self.keep >= 0
        at = self.keep.clamp_min(0)
        grid = tokens.grid.gather(1, at[..., None].expand(-1, -1, 3)) * valid[..., None]
        lows, highs = tokens.box[..., 0::2], tokens.box[..., 1::2]
        index = self.dst[:, None].expand(-1, 3) + (self.row * self.keep.shape[1])[:, None]
        flat = (self.keep.numel(), 3)
        low = torch.full(flat, torch.inf, dtype=lows.dtype, device=lows.device)
        low.scatter_reduce_(0, index, lows[self.row, self.src], "amin")
        high = torch.full(flat, -torch.inf, dtype=highs.dtype, device=highs.device)
        high.scatter_reduce_(0, index, highs[self.row, self.src], "amax")
        box = torch.stack([low, high], -1).view(*self.keep.shape, 6)
        box = torch.where(valid[..., None], box, torch.zeros_like(box))
        mass, _ = self.mass(tokens.mass)
        return Tokens(self.apply(tokens.features), valid, grid, box, mass)


class Params(BaseModel):
    """Parameters of a mechanism; subclasses add typed fields with defaults and ranges. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AdaptiveParams(Params):
    """Parameters of a threshold rule: with ``adaptive`` the published threshold sets the count, at most the budget."""

    adaptive: bool = False


class CountedParams(Params):
    """Parameters of a rule that serving engines have built in.

    With ``counting: engine`` a keep ratio leaves as many tokens as the engine does, rounding and floors included; with
    ``policy`` as many as every other mechanism does (`target_count`).
    """

    counting: Literal["policy", "engine"] = "policy"


class Mechanism(ABC):
    """One algorithm. Instances are immutable and hold nothing but their parameters.

    Args:
        params: see the class's ``Params``.
        keep_ratio: of the step it is built for, for rules whose shares follow the ratio and not the count alone.

    Class attributes:
        name: the name used in policies.
        family: of the survey's taxonomy, or ``control``.
        modalities, locations: where it may stand.
        needs: scores it asks the runtime for (see `Score`).
        score_source: layer that scores are taken from: ``previous`` (what the layer before has computed) or ``own``
            (computed for the ranking, charged in full).
        head_reduction: how attention scores are joined over heads.
        companion: another modality of the same request whose reduction guides this one; its stages at the same location
            run first, and ``concurrent_retention`` says what they kept.
        uses_grid: whether it reads the tokens as a full (t, y, x) grid; such a stage cannot follow one that drops.
        criterion: what it ranks by; two stages of a stack with the same criterion conflict.
        source: paper and equation.
    """

    name: ClassVar[str]
    family: ClassVar[Family]
    modalities: ClassVar[tuple[Modality, ...]]
    locations: ClassVar[tuple[Location, ...]]
    needs: ClassVar[tuple[Score, ...]] = ()
    score_source: ClassVar[Literal["previous", "own"]] = "previous"
    head_reduction: ClassVar[Literal["mean", "max"]] = "mean"
    companion: ClassVar[Modality | None] = None
    uses_grid: ClassVar[bool] = False
    criterion: ClassVar[str]
    source: ClassVar[str]
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Mapping[str, object] | None = None, keep_ratio: float | None = None) -> None:
        self.params = self.Params.model_validate(dict(params or {}))
        self.keep_ratio = keep_ratio

    @property
    def adaptive(self) -> bool:
        """Whether the rule sets its own count, at most the budget."""
        return isinstance(self.params, AdaptiveParams) and self.params.adaptive

    @abstractmethod
    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        """Reduce each row to exactly its budget.

        Args:
            tokens: the items, one row each.
            budget: (B,) long, survivors of each row, between 1 and the row's valid tokens.
            scores: what ``needs`` names, aligned with the tokens; values on padding are undefined.

        Returns:
            A reduction with ``count == budget``; with ``adaptive``, 1 <= count <= budget. Same input, same output; no
            NaN for constant or zero features.
        """

    def flops(self, work: Work) -> int:
        """FLOPs (multiply and add as two) of the matrix products on one item, scores apart."""
        return 0

    def target(self, keep_ratio: float, n0: int, left: int, grid: tuple[int, int, int]) -> int:
        """Tokens that a keep ratio leaves of an item: the budget of `reduce`, and what `cost` charges.

        The one rounding rule, unless the rule is a serving engine's own with its rounding and its floor.

        Args:
            keep_ratio: in (0, 1], relative to ``n0``.
            n0: the item's uncompressed token count at the language model.
            left: tokens it still has.
            grid: (t, y, x) of the item.

        Returns:
            Between 1 and ``left``.
        """
        return target_count(keep_ratio, n0, left)
