"""What a study found, and how: everything that a report of it shows, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from autotc.policy import Stage
from autotc.statistics import Interval

Kind = Literal["found", "preset", "control"]
LOOKED_FOLDER = "looked"
"""Folder of a study that holds pictures of its samples, and `LOOKED_INDEX`, which says what they are of."""
LOOKED_INDEX = "looked.json"


@dataclass(frozen=True)
class Tried:
    """A policy that ran on the whole search split.

    Attributes:
        trial: its number.
        kind: ``control``, ``preset``, or ``found`` by the search.
        stages: in order.
        family: of its main mechanism.
        accuracy: mean over modality groups, on the search split; ``accuracy_by``: of each.
        flops_ratio: on the search split; ``flops_ratio_by``: of each modality group.
        tokens: modality -> mean tokens of an item at the language model's last layer.
        front: whether no other policy beats it.
    """

    trial: int
    kind: Kind
    stages: tuple[Stage, ...]
    family: str
    accuracy: float
    accuracy_by: Mapping[str, float]
    flops_ratio: float
    flops_ratio_by: Mapping[str, float]
    tokens: Mapping[str, float]
    front: bool = False


@dataclass(frozen=True)
class Tested:
    """A policy of the front, measured once on the test split.

    Attributes:
        trial: its number.
        stages: in order.
        overall: mean over modality groups, with its 95% interval; ``accuracy``: of each.
        difference: paired change in accuracy against the uncompressed model.
        flops_ratio, kv_ratio, tokens: on the test split.
        chosen: whether it is the exported policy.
    """

    trial: int
    stages: tuple[Stage, ...]
    overall: Interval
    accuracy: Mapping[str, Interval]
    difference: Interval
    flops_ratio: float
    kv_ratio: float | None
    tokens: Mapping[str, float]
    chosen: bool


@dataclass(frozen=True)
class Progressed:
    """How far a search was after a trial.

    Attributes:
        trials: policies that had run on the whole search split.
        forwards: samples that had been run, each under one policy.
        hypervolume: of the front so far; reference point is chance accuracy at a FLOPs ratio of 1.
    """

    trials: int
    forwards: int
    hypervolume: float


@dataclass(frozen=True)
class Changed:
    """A sample of the test split that the exported policy answers otherwise than the uncompressed model.

    Attributes:
        id, task, modality: of the sample.
        before, after: what was said without and with the policy.
        change: of its score; negative where it broke.
    """

    id: str
    task: str
    modality: str
    before: str
    after: str
    change: float


@dataclass(frozen=True)
class Looked:
    """A sample of the test split under the exported policy, drawn.

    Attributes:
        id, modality: of the sample, and of the medium that is drawn.
        prompt, right: the question and its answer.
        before, after: what was said without and with the policy.
        verdict: of what was said with it: ``right``, ``wrong`` or a score.
        picture: the medium with the tokens that are left, as a ``data:`` URI.
    """

    id: str
    modality: str
    prompt: str
    right: str
    before: str
    after: str
    verdict: str
    picture: str


@dataclass(frozen=True)
class StudyAccount:
    """What a study found, and how.

    Attributes:
        study: its name.
        model: class of the model.
        evaluator, seed, sampler: of the search.
        budget: what a policy may cost, in words -> the limit.
        tried: policies that ran on the whole search split, in order.
        uncompressed: the uncompressed model's accuracy on the search split.
        tested: the front on the test split, cheapest first; empty while the study has not ended.
        baseline: modality group -> the uncompressed model's accuracy on the test split.
        worth: what `autotc.search.result.Worth` says, as JSON; None while the study has not ended.
        changed: samples that the exported policy answers otherwise, those that broke first.
        looked: samples with the tokens that the exported policy leaves of them.
        progress: after each trial.
        importances: parameter -> share of the accuracy's variance that it explains; empty where it cannot be told.
        refused: rule -> policies that were refused before they ran.
        raced, failed: policies given up on part of the samples, and those whose mechanism raised.
        conflicts: stacks that were refused since they are predicted to conflict.
        layers: modality -> layers of its tower; ``decoder`` -> of the language model; empty where not known.
        usual_tokens: modality -> mean tokens of an uncompressed item.
        samples: split -> modality group -> samples.
        versions: of the packages that the search ran with.
        policy: file of the exported policy; None while the study has not ended.
        samples_sha256: hash of the search split's questions and answers.
    """

    study: str
    model: str
    evaluator: str
    seed: int
    sampler: str
    budget: Mapping[str, float]
    tried: tuple[Tried, ...]
    uncompressed: Interval | None
    tested: tuple[Tested, ...] = ()
    baseline: Mapping[str, Interval] = field(default_factory=dict)
    worth: Mapping[str, object] | None = None
    changed: tuple[Changed, ...] = ()
    looked: tuple[Looked, ...] = ()
    progress: tuple[Progressed, ...] = ()
    importances: Mapping[str, float] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    raced: int = 0
    failed: int = 0
    conflicts: tuple[str, ...] = ()
    layers: Mapping[str, int] = field(default_factory=dict)
    usual_tokens: Mapping[str, float] = field(default_factory=dict)
    samples: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    policy: str | None = None
    samples_sha256: str = ""

    @property
    def chosen(self) -> Tested | None:
        """The exported policy; None while the study has not ended."""
        return next((row for row in self.tested if row.chosen), None)

    def left(self, stages: tuple[Stage, ...], modality: str) -> dict[str, float]:
        """Share of a modality's tokens that is left at each place, in order: ``input``, ``tower 0``, ..., ``layer 5``.

        Args:
            stages: of a policy.
            modality: whose tokens.
        """
        places = ["input", *(f"tower {i}" for i in range(self.layers.get(modality, 0)))]
        places += ["projector", *(f"layer {i}" for i in range(self.layers.get("decoder", 0)))]
        ratios: dict[str, float] = {}
        for stage in stages:
            if stage.modality != modality:
                continue
            for layer, ratio in stage.steps():
                names = {"encoder": f"tower {layer}", "decoder": f"layer {layer}"}
                place = names.get(stage.location, stage.location)
                ratios[place] = min(ratio, ratios.get(place, 1.0))
        out, now = {}, 1.0
        for place in places:
            now = min(now, ratios.get(place, 1.0))
            out[place] = now
        return out
