"""Predicted conflicts: what a few forwards on calibration samples say of a stack, without an evaluation."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from autotc.conflicts.pairs import alone_at, flops_ratio, with_final_ratio
from autotc.errors import DataError, PolicyError
from autotc.evaluate.base import Evaluator
from autotc.evaluate.model import ModelEvaluator
from autotc.mechanisms import Reduction
from autotc.policy import Policy, Stage
from autotc.runtime import apply
from autotc.runtime.features import cached_features
from autotc.runtime.tracks import Track
from autotc.vocabulary import MODALITIES, Group, Modality, Split

SPLIT: Split = "search"
"""Where the calibration samples are from."""


@dataclass(frozen=True)
class Plain:
    """What the uncompressed model makes of the calibration samples.

    Attributes:
        features: (B, N, D) of norm 1, the items' tokens after the projector, right-aligned to the longest.
        importance: (B, N) attention of the prompt's last token, mean over decoder layers from 1; an item's sum to 1.
        logits: (R, V) after the prompt, centred.
    """

    features: Tensor
    importance: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Seen:
    """What a policy makes of them.

    Attributes:
        real: (B, N) bool; False marks the padding on the left.
        kept: (B, N) bool, tokens whose positions survive.
        lost: (B, N) bool, tokens that no survivor stands for.
        merged: (B, N) bool, tokens that share a survivor with others.
        damage: what the policy costs by itself, each larger where more is lost. ``shift``: how far the logits after the
            prompt move, relative to their size. ``answer``: total variation between the next token's distributions.
            ``importance``: share of the attention whose tokens are lost or diluted by merging. ``coverage``: mean
            distance (1 - cosine, after the projector) from a token to the nearest survivor. The last two are missing
            where an input stage changed the grid.
        shifts: (R,) ``shift`` of each request.
    """

    real: Tensor
    kept: Tensor
    lost: Tensor
    merged: Tensor
    damage: dict[str, float]
    shifts: Tensor


def trace(source: Reduction, lengths: Sequence[int], logits: Tensor, plain: Plain) -> Seen:
    """What became of the items' tokens.

    Args:
        source: on the host, from the items' N tokens to those left: the product of all reductions.
        lengths: tokens that each item had.
        logits: (R, V) under the policy, centred.
        plain: the same without it.
    """
    rows, n = source.keep.shape[0], source.size
    there = source.keep >= 0
    real = torch.arange(n) >= n - torch.tensor(lengths)[:, None]
    kept = torch.zeros(rows, n, dtype=torch.bool)
    kept[there.nonzero()[:, 0], source.keep[there]] = True
    flat = source.row * n + source.src
    share = torch.zeros(rows * n).scatter_reduce_(0, flat, source.weight.abs().float(), "amax").view(rows, n)
    into = source.row * source.keep.shape[1] + source.dst
    crowd = torch.bincount(into, minlength=source.keep.numel())
    merged = torch.zeros(rows * n, dtype=torch.bool)
    merged[flat[crowd[into] > 1]] = True
    shifts = (logits - plain.logits).norm(dim=1) / plain.logits.norm(dim=1).clamp_min(1e-6)
    apart = (logits.softmax(1) - plain.logits.softmax(1)).abs().sum(1) / 2
    damage = {"shift": float(shifts.mean()), "answer": float(apart.mean())}
    if n == plain.features.shape[1]:
        damage["importance"] = 1 - float((plain.importance * share).sum(1).mean())
        survivors = source.apply(plain.features)
        survivors = survivors / survivors.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        cosine = torch.einsum("bnd,bmd->bnm", plain.features, survivors).masked_fill(~there[:, None], -1.0)
        damage["coverage"] = float((1 - cosine.amax(2))[real].mean())
    return Seen(real, kept, (share == 0) & real, merged.view(rows, n), damage, shifts)


@dataclass
class _Calibration:
    """What is known of one evaluator's calibration samples; each policy runs once."""

    inputs: dict[tuple[str, int, str], tuple[Any, dict[str, Any]]] = field(default_factory=dict)
    plain: dict[tuple[str, str, int], Plain] = field(default_factory=dict)
    seen: dict[tuple[str, int, str], Seen] = field(default_factory=dict)
    forwards: int = 0


_CALIBRATIONS: weakref.WeakKeyDictionary[ModelEvaluator, _Calibration] = weakref.WeakKeyDictionary()


def forwards_run(evaluator: Evaluator) -> int:
    """Calibration samples that were run on an evaluator's model so far, each under one policy."""
    known = _CALIBRATIONS.get(evaluator)  # type: ignore[call-overload]
    return 0 if known is None else known.forwards


class Calibration:
    """Runs policies on the first search samples of a group of one evaluator, all in one batch."""

    def __init__(self, evaluator: ModelEvaluator, modality: Modality, samples: int) -> None:
        self.evaluator, self.modality, self.samples = evaluator, modality, samples
        groups = evaluator.info(SPLIT).samples
        mine = [name for name in groups if Group(name).holds(modality)]
        if not mine:
            raise DataError(f"{SPLIT} split: no samples hold {modality}; a stack on it cannot be looked at")
        self.group = modality if modality in mine else mine[0]
        self._known = _CALIBRATIONS.setdefault(evaluator, _Calibration())

    def _batch(self, policy: Policy) -> tuple[Any, dict[str, Any]]:
        before = Policy(stages=tuple(stage for stage in policy.stages if stage.location == "input"))
        key = (self.group, self.samples, before.content_hash())
        if key not in self._known.inputs:
            self._known.inputs[key] = self.evaluator.request(before, SPLIT, self.group, self.samples), {}
        return self._known.inputs[key]

    @torch.inference_mode()
    def _forward(self, policy: Policy, observer: Any = None) -> tuple[Tensor, Track | None]:
        """Centred logits after the prompt, and the modality's track."""
        inputs, towers = self._batch(policy)
        model = self.evaluator.loaded
        self._known.forwards += len(inputs["input_ids"])
        with cached_features(model, inputs, policy, towers), apply(model, policy, observer) as handle:
            logits = model(**inputs, use_cache=False).logits[:, -1].float().cpu()
            track = handle.last.get(self.modality)
        return logits - logits.mean(1, keepdim=True), track

    def plain(self) -> Plain:
        """What the uncompressed model makes of the samples."""
        key = (self.group, self.modality, self.samples)
        if key not in self._known.plain:
            depth = self.evaluator.depths.decoder
            watched: list[Tensor] = []
            features: list[Tensor] = []

            def observer(seen: Any) -> None:
                if seen.layer is None:
                    features.append(seen.tokens.unit_features())
                else:
                    watched.append(seen.scores["last_query_attention"])

            shared: dict[str, Any] = {"modality": self.modality, "layer": None}
            layers = dict.fromkeys(range(min(1, depth - 1), depth), 1.0)
            look = Policy(
                stages=(
                    Stage(location="projector", mechanism="random", keep_ratio=1.0, **shared),
                    Stage(location="decoder", mechanism="fastv", keep_ratio=None, layers=layers, **shared),
                )
            )
            logits, _ = self._forward(look, observer)
            attention = torch.stack([a / a.sum(1, keepdim=True).clamp_min(1e-9) for a in watched]).mean(0)
            self._known.plain[key] = Plain(features[0].cpu(), attention.float().cpu(), logits)
        return self._known.plain[key]

    def boxes(self, policy: Policy) -> list[Tensor]:
        """(N, 6) of each item after a policy's input stages, see `Item.boxes`."""
        track = self._forward(policy)[1]
        assert track is not None  # as in `see`
        return [item.boxes() for item in track.items]

    def see(self, policy: Policy) -> Seen:
        """What a policy on the modality makes of the samples."""
        key = (self.group, self.samples, policy.content_hash())
        if key not in self._known.seen:
            plain = self.plain()
            logits, track = self._forward(policy)
            assert track is not None  # the policy acts on the modality, and the samples hold it
            source = track.source()
            edges = (source.row.cpu(), source.src.cpu(), source.dst.cpu(), source.weight.cpu())
            host = Reduction(source.keep.cpu(), *edges, source.size)
            self._known.seen[key] = trace(host, [item.count for item in track.items], logits, plain)
        return self._known.seen[key]


def _share(inside: Tensor, of: Tensor) -> float:
    """Share of the tokens ``of`` that are ``inside``, over all samples; 0 where there are none."""
    total = float(of.sum())
    return float((inside & of).sum()) / total if total else 0.0


def redundancy(first: Seen, second: Seen) -> float:
    """How much of what the first drops the second alone would drop too: 0 as by chance, 1 all that it can."""
    mine, theirs = ~first.kept & first.real, ~second.kept & second.real
    expected = _share(theirs, second.real)
    return (_share(theirs, mine) - expected) / (1 - expected) if mine.any() and expected < 1 else 0.0


def disagreement(first: Seen, second: Seen) -> float:
    """How little two rankings share of their best tokens: 0 all, 1 as by chance, above 1 less than by chance.

    The two keep equally many.
    """
    expected = _share(second.kept, second.real)
    agreed = (_share(second.kept, first.kept) - expected) / (1 - expected) if expected < 1 else 1.0
    return 1 - agreed


def concentrated_loss(first: Seen, stack: Seen) -> float:
    """Share of the tokens that the first stage merged with others whose survivor the second then drops."""
    return _share(stack.lost, first.merged)


def features(evaluator: ModelEvaluator, stages: tuple[Stage, ...], samples: int) -> dict[str, float]:
    """What the score is made of: a stack of stages of one modality against its stages alone.

    ``shift``, ``answer``, ``importance`` and ``coverage`` are the stack's damage (`Seen`) less that of the better stage
    alone at the stack's cost. The others look at what is dropped: ``concentrated`` (`concentrated_loss`),
    ``disagreement`` and ``redundancy`` as their functions say, and ``input``, the share of the item's tokens that no
    survivor stands for, less that of the better stage alone at the stack's count. Where an input stage changes the
    grid, what compares tokens is 0.
    """
    look = Calibration(evaluator, stages[0].modality, samples)
    stack, last = Policy(stages=stages), stages[-1]
    both = look.see(stack)
    target = flops_ratio(evaluator, stack, SPLIT, look.group)
    moved = [alone_at(evaluator, stage, target, SPLIT, look.group) for stage in stages]
    alone = [look.see(found.policy).damage for found in moved if found.reached]
    out = dict.fromkeys(FEATURES, 0.0)
    for name, value in both.damage.items():
        out[name] = value - min((one[name] for one in alone if name in one), default=value)
    first, second = look.see(Policy(stages=stages[:-1])), look.see(Policy(stages=(last,)))
    level = look.see(Policy(stages=(with_final_ratio(stages[0], last.final_ratio),)))
    if first.kept.shape == both.kept.shape == second.kept.shape == level.kept.shape:
        out["concentrated"] = concentrated_loss(first, both)
        out["redundancy"] = redundancy(first, second)
        out["disagreement"] = disagreement(level, second)
        out["input"] = max(_covered(level), _covered(second)) - _covered(both)
    return out


def _covered(seen: Seen) -> float:
    return 1 - _share(seen.lost, seen.real)


FEATURES = ("shift", "answer", "importance", "coverage", "concentrated", "disagreement", "redundancy", "input")
"""Names of the features, in the order in which they are reported."""
WEIGHTS: dict[str, float] = {"shift": 18.6, "answer": 8.22}
"""Log-odds of a conflict for a unit of a feature, fitted on half of the mechanisms by tests/benchmarks/conflicts.py."""
BIAS = -0.742
"""Log-odds where all features are 0."""
CONFLICT_THRESHOLD = 0.5
"""Scores above it say conflict."""
_WORDS: dict[str, tuple[str, str, str]] = {
    "shift": ("moves the logits after the prompt {:.3f} of their size", "further", "less far"),
    "answer": ("moves {:.3f} of the answer's probability", "more", "less"),
    "importance": ("loses {:.3f} of the attention", "more", "less"),
    "coverage": ("leaves tokens {:.4f} from their nearest survivor", "further", "less far"),
    "input": ("leaves {:.3f} of the input without a survivor", "more", "less"),
}


@dataclass(frozen=True)
class Prediction:
    """What is expected of a stack.

    Attributes:
        score: in [0, 1], the probability that a measurement on 600 samples would find a conflict, as on the stacks of
            the embedded model that it was fitted on; above `CONFLICT_THRESHOLD` it says conflict.
        features: what the score is made of, see `features`; of the stack with the highest score.
        reason: the same in words.
    """

    score: float
    features: dict[str, float]
    reason: str


def score_of(values: Mapping[str, float]) -> float:
    """The score of features: a logistic function of a weighted sum."""
    odds = BIAS + sum(weight * values[name] for name, weight in WEIGHTS.items())
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, odds))))


def predict(evaluator: ModelEvaluator, stack: Policy, *, samples: int = 16) -> Prediction:
    """Predict whether a stack does worse than the better of its stages alone at the same cost.

    A few forwards on the first samples of the search split, without their answers; single stages are kept for the next
    stack. Where a policy stacks stages on several modalities, the worst of them counts; where it stacks none, the score
    is 0.

    Args:
        evaluator: model and samples.
        stack: a policy that fits the model and that no rule refuses.
        samples: calibration samples.

    Raises:
        AutotcError: the policy does not fit the model, sets its own counts, or no sample holds its modality.
    """
    if stack.adaptive:
        raise PolicyError("stages: one sets its own count, so that no stage can be given the stack's cost")
    found = []
    for modality in MODALITIES:
        stages = stack.modality(modality)
        if len(stages) > 1:
            values = features(evaluator, stages, samples)
            found.append(Prediction(score_of(values), values, words(values)))
    nothing = Prediction(0.0, dict.fromkeys(FEATURES, 0.0), "no modality has two stages")
    return max(found, key=lambda prediction: prediction.score, default=nothing)


def words(values: Mapping[str, float]) -> str:
    """What features say, those that count most first."""
    parts = []
    for name in sorted(WEIGHTS, key=lambda name: -abs(WEIGHTS[name] * values[name])):
        if name in _WORDS:
            text, more, less = _WORDS[name]
            parts.append(f"{text.format(abs(values[name]))} {more if values[name] > 0 else less}")
    said = " and ".join(parts)
    out = [f"the stack {said} than the better stage alone at its cost"]
    if values["concentrated"] > 0:
        out.append(f"the second drops {values['concentrated']:.0%} of the tokens that the first had merged")
    if values["redundancy"] > 0.5:
        out.append("the second alone would drop much the same tokens as the first")
    if values["disagreement"] >= 1:
        out.append("the two agree on the best tokens no more than by chance")
    return "; ".join(out)
