"""A test double of an evaluator for the search loop alone: accuracy by a formula, cost by a formula, nothing runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping

import numpy as np

from autotc.depths import Depths
from autotc.errors import MechanismError
from autotc.evaluate.base import Evaluator
from autotc.latency import LatencyModel
from autotc.policy import ModelReference, Policy
from autotc.progress import Progress
from autotc.results import Results, SampleResult, SplitCost, SplitInfo
from autotc.vocabulary import Group, Split

GROUPS = ("image", "video", "audio", "image+audio")
QUALITY = {"random": 0.35, "uniform_stride": 0.3, "downsample": 0.25, "divprune": 0.1, "tome": 0.12, "fastv": 0.2}
"""Accuracy lost at keep 0, by mechanism; others lose 0.15."""
TOWER = 0.2


class SyntheticEvaluator(Evaluator):
    """Accuracy falls with the squared share of tokens removed; a sample is right if its own difficulty allows it.

    Args:
        failing: mechanism that raises.
        on_run: called with each policy and split before it is scored.
        samples: of each modality group and split.
    """

    def __init__(
        self, failing: str | None = None, on_run: Callable[[Policy, Split], None] | None = None, samples: int = 60
    ) -> None:
        self.name, self.seed, self.samples = "builtin", 0, samples
        self.model = ModelReference(architecture="Synthetic", fingerprint="sha256:0")
        self.depths = Depths(decoder=6, encoder={"image": 3, "video": 3, "audio": 3})
        self.modalities: tuple[str, ...] = ("image", "video", "audio")
        self.failing, self.on_run = failing, on_run
        self.ran: list[tuple[str, Split]] = []
        self.forwards: dict[tuple[Split, str, str], int] = {}
        self.repeated: list[tuple[Split, str, str]] = []

    def info(self, split: Split) -> SplitInfo:
        digest = hashlib.sha256(f"{split}{self.samples}".encode()).hexdigest()
        return SplitInfo(dict.fromkeys(GROUPS, self.samples), digest, {f"{group}-task": 0.1 for group in GROUPS})

    def _ratio(self, policy: Policy, modality: str) -> float:
        tower, decoder, left, at = 1.0, 0.0, 1.0, 0
        for stage in policy.modality(modality):
            for layer, ratio in stage.steps():
                if stage.location == "input":
                    tower = ratio
                elif stage.location == "encoder":
                    tower = ((layer or 0) + 1 + (2 - (layer or 0)) * ratio) / 3
                elif stage.location == "decoder":
                    decoder += left * ((layer or 0) - at) / 6
                    at = layer or 0
                left = ratio
        return TOWER * tower + (1 - TOWER) * (decoder + left * (6 - at) / 6)

    def cost(
        self,
        policy: Policy,
        split: Split,
        *,
        groups: Collection[str] | None = None,
        latency: LatencyModel | None = None,
    ) -> SplitCost:
        ratio = {m: self._ratio(policy, m) for m in self.modalities}
        by = {**ratio, "image+audio": (ratio["image"] + ratio["audio"]) / 2}
        mean = float(np.mean([by[name] for name in groups or by]))
        stages = {m: policy.modality(m) for m in self.modalities}
        tokens = {m: 64.0 * (s[-1].final_ratio if s else 1.0) for m, s in stages.items()}
        return SplitCost(
            mean, by, mean * 1e8, tokens, dict.fromkeys(tokens, mean), mean * 1e5, 0.01 if policy.stages else 0.0
        )

    def floors(self, split: Split) -> Mapping[tuple[str, str], float]:
        at = {"input": 0.0, "encoder": TOWER / 3, "projector": TOWER, "decoder": TOWER + 0.8 / 6}
        return {(m, location): floor for m in self.modalities for location, floor in at.items()}

    def _accuracy(self, policy: Policy, modality: str) -> float:
        lost, left = 0.0, 1.0
        for stage in policy.modality(modality):
            lost += QUALITY.get(stage.mechanism, 0.15) * (left**2 - stage.final_ratio**2) * (left > stage.final_ratio)
            left = min(left, stage.final_ratio)
        return 0.95 - lost

    def run(
        self,
        policy: Policy,
        split: Split,
        *,
        limit: int | None = None,
        groups: Collection[str] | None = None,
        progress: Progress | None = None,
    ) -> Results:
        if self.on_run is not None:
            self.on_run(policy, split)
        if any(stage.mechanism == self.failing for stage in policy.stages):
            raise MechanismError(f"{self.failing}: broken on purpose")
        mine = Policy(stages=tuple(s for s in policy.stages if groups is None or s.modality in "+".join(groups)))
        self.ran.append((mine.content_hash(), split))
        samples: list[SampleResult] = []
        for group in GROUPS if groups is None else [g for g in GROUPS if g in groups]:
            key = (split, group, Policy(stages=tuple(s for s in policy.stages if s.modality in group)).content_hash())
            stop = self.samples if limit is None else min(limit, self.samples)
            if stop <= self.forwards.get(key, 0):
                self.repeated.append(key)
            self.forwards[key] = max(stop, self.forwards.get(key, 0))
            level = float(np.mean([self._accuracy(policy, m) for m in Group(group).modalities]))
            count = self.samples if limit is None else min(limit, self.samples)
            difficulty = np.random.default_rng([len(group), len(split)]).uniform(size=self.samples)[:count]
            samples.extend(
                SampleResult(f"{split}-{group}-{i}", f"{group}-task", group, float(d < level), "x", -float(d))
                for i, d in enumerate(difficulty)
            )
        return Results(tuple(samples))
