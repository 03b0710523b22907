"""Calibration samples: policies run on the first search samples of a modality, all in one batch, each once."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from autotc.conflicts.trace import Reference, Trace, trace
from autotc.cost import request_shapes
from autotc.errors import DataError, NotFiniteError
from autotc.evaluate.base import ObservableEvaluator
from autotc.evaluate.outcomes import media_views
from autotc.evaluate.samples import MEDIA_KEYS, Sample
from autotc.mechanisms import Reduction
from autotc.models import bind
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.records.shown import MediumView
from autotc.runtime.features import TowerStore
from autotc.runtime.reuse import applied
from autotc.runtime.steps import Observation
from autotc.runtime.tracks import Track
from autotc.vocabulary import Group, Modality, Split

SPLIT: Split = "search"
"""Where the calibration samples are from."""
SAMPLES = 16
"""Calibration samples, where it is not said."""


def _watch(observation: Observation) -> None:
    """Being watched, every stage reports, also where it has nothing to remove."""


class Calibration:
    """Runs policies on the first samples of one evaluator, without their answers, and remembers what it saw.

    Args:
        evaluator: model and samples.
        samples: of each modality.

    Attributes:
        forwards: samples that were run so far, each under one policy.
    """

    def __init__(self, evaluator: ObservableEvaluator, samples: int = SAMPLES) -> None:
        self.evaluator, self.samples = evaluator, samples
        self.forwards = 0
        self._inputs: dict[tuple[str, str], tuple[Any, TowerStore]] = {}
        self._references: dict[Modality, Reference] = {}
        self._traces: dict[tuple[Modality, str], Trace] = {}

    def group(self, modality: Modality) -> str:
        """The group of samples that a modality is looked at on: those that hold it alone, else the first that hold it.

        Raises:
            DataError: no sample of the search split holds it.
        """
        holding = [name for name in self.evaluator.info(SPLIT).samples if Group(name).holds(modality)]
        if not holding:
            raise DataError(f"{SPLIT} split: no samples hold {modality}; a stack on it cannot be looked at")
        return modality if modality in holding else holding[0]

    def members(self, modality: Modality) -> list[Sample]:
        """The samples that a modality is looked at on."""
        group = self.group(modality)
        return [sample for sample in self.evaluator.samples(SPLIT) if sample.group == group][: self.samples]

    def reference(self, modality: Modality) -> Reference:
        """What the uncompressed model makes of a modality's samples."""
        if modality in self._references:
            return self._references[modality]
        depths = self.evaluator.depths
        attention: list[Tensor] = []
        features: list[Tensor] = []

        def observer(request: Any) -> None:
            if request.layer is None:
                features.append(request.tokens.unit_features())
            else:
                attention.append(request.scores["last_query_attention"])

        # Stages that keep everything: the model stays as it is, and their mechanisms' inputs are seen.
        shared: dict[str, Any] = {"modality": modality, "layer": None}
        layers = dict.fromkeys(depths.scored(-1) or [0], 1.0)
        identity = Policy(
            stages=(
                Stage(location="projector", mechanism="random", keep_ratio=1.0, **shared),
                Stage(location="decoder", mechanism="fastv", keep_ratio=None, layers=layers, **shared),
            )
        )
        logits, _ = self._forward(identity, modality, observer)
        importance = torch.stack([a / a.sum(1, keepdim=True).clamp_min(1e-9) for a in attention]).mean(0)
        self._references[modality] = Reference(features[0].cpu(), importance.float().cpu(), logits)
        return self._references[modality]

    def trace(self, policy: Policy, modality: Modality) -> Trace:
        """What a policy that acts on a modality makes of its samples."""
        key = (modality, policy.content_hash())
        if key not in self._traces:
            reference = self.reference(modality)
            logits, track = self._forward(policy, modality)
            source = track.source()
            edges = (source.row.cpu(), source.src.cpu(), source.dst.cpu(), source.weight.cpu())
            host = Reduction(source.keep.cpu(), *edges, source.size)
            self._traces[key] = trace(host, [item.count for item in track.items], logits, reference)
        return self._traces[key]

    def views(self, policy: Policy, modality: Modality, sample: int) -> list[MediumView]:
        """One sample's media of a modality at every stage of a policy.

        Args:
            policy: that acts on the modality.
            modality: whose media.
            sample: its place among `members`.
        """
        track = self._forward(policy, modality, _watch)[1]
        contents = self.members(modality)[sample].media()[MEDIA_KEYS[modality]]
        inputs, _ = self._batch(UNCOMPRESSED, self.group(modality))
        request = request_shapes(bind(self.evaluator.loaded), inputs)[sample]
        items = [item for item in request.items if item.modality == modality]
        rows = [i for i, row in enumerate(track.batch_row.tolist()) if row == sample]
        return media_views(policy, modality, items, track, contents, rows)

    @torch.inference_mode()
    def _forward(self, policy: Policy, modality: Modality, observer: Any = None) -> tuple[Tensor, Track]:
        """Centred logits (R, V) after the prompt, and the modality's track.

        Raises:
            NotFiniteError: the policy makes logits that are not finite.
            DataError: the model does so by itself, or the policy has no stage on the modality.
        """
        inputs, towers = self._batch(policy, self.group(modality))
        model = self.evaluator.loaded
        self.forwards += len(inputs["input_ids"])
        with applied(model, policy, inputs, towers, observer) as handle:
            logits = model(**inputs, use_cache=False).logits[:, -1].float().cpu()
            track = handle.last.get(modality)
        if (logits.isnan() | (logits == math.inf)).any():
            if observer is not None:  # the identity, which is the model by itself
                raise DataError(f"{modality}: the uncompressed model's logits are not finite; try --dtype bfloat16")
            raise NotFiniteError(f"{policy.label()}: calibration samples gave logits that are not finite")
        if track is None:
            raise DataError(f"{modality}: the policy has no stage on it, or the samples do not hold it")
        return logits - logits.mean(1, keepdim=True), track

    def _batch(self, policy: Policy, group: str) -> tuple[Any, TowerStore]:
        """Inputs under a policy's input stages, and the towers' outputs that are known of them."""
        before = Policy(stages=tuple(stage for stage in policy.stages if stage.location == "input"))
        key = (group, before.content_hash())
        if key not in self._inputs:
            self._inputs[key] = self.evaluator.request(before, SPLIT, group, self.samples), {}
        return self._inputs[key]
