"""What `autotc.conflicts` measures: pairs of stages, and what a stack of the two gains or loses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autotc.placement import Placement
from autotc.policy import Policy, Stage
from autotc.statistics import Interval
from autotc.tabular import frame, html_table
from autotc.vocabulary import Modality

if TYPE_CHECKING:
    import pandas as pd

Keeps = tuple[float, float]
"""Keep ratios of the first and the second stage of a pair, both of the uncompressed count."""
Effect = Literal["synergy", "neutral", "conflict"]


def effect(interval: Interval) -> Effect:
    """What an interaction's interval says: a conflict lies wholly below zero, a synergy wholly above."""
    return "conflict" if interval.high < 0 else "synergy" if interval.low > 0 else "neutral"


@dataclass(frozen=True)
class Pair:
    """Two placements, the first before the second, on one modality at two ratios."""

    first: Placement
    second: Placement
    modality: Modality
    keeps: Keeps

    @property
    def label(self) -> str:
        """E.g. ``image cdpruner@projector:0.5 + fastv@decoder[2]:0.25``."""
        return f"{self.modality} {self.first.label}:{self.keeps[0]:g} + {self.second.label}:{self.keeps[1]:g}"

    def stages(self) -> tuple[Stage, Stage]:
        """Both as stages.

        Raises:
            PolicyError: one cannot be a stage.
        """
        return self.first.stage(self.modality, self.keeps[0]), self.second.stage(self.modality, self.keeps[1])

    def stack(self) -> Policy:
        """Both, one after the other.

        Raises:
            PolicyError: one cannot be a stage, or the second acts before the first.
        """
        return Policy(stages=self.stages())


@dataclass(frozen=True)
class Interaction:
    """One pair's measured interaction.

    Attributes:
        pair: what was stacked.
        interaction: of the stack and the better stage alone at its cost, with its 95% interval.
        additive: acc(AB) - acc(A) - acc(B) + acc(none), A and B at the ratios they have in the stack.
        accuracy: means of ``stack``, ``first`` and ``second`` (alone at the stack's cost), ``first_own`` and
            ``second_own`` (alone at their ratios in the stack), ``none``.
        flops_ratio: of ``stack``, ``first`` and ``second``.
        reached: which of ``first`` and ``second`` can cost as little as the stack; the others are no alternative.
        ratios: final keep ratios of ``first`` and ``second`` there.
        samples: compared.
    """

    pair: Pair
    interaction: Interval
    additive: Interval
    accuracy: Mapping[str, float]
    flops_ratio: Mapping[str, float]
    reached: tuple[str, ...]
    ratios: Mapping[str, float]
    samples: int

    @property
    def effect(self) -> Effect:
        """Synergy, neutral or conflict."""
        return effect(self.interaction)

    @property
    def better(self) -> str:
        """``first`` or ``second``: the more accurate one at the stack's cost."""
        return max(self.reached, key=lambda name: self.accuracy[name])

    @property
    def worse(self) -> str:
        """The other of ``first`` and ``second``."""
        return "second" if self.better == "first" else "first"


@dataclass(frozen=True)
class Prediction:
    """What is expected of a stack before it is measured.

    Attributes:
        score: in [0, 1], the probability that a measurement on 600 samples would find a conflict, as on the stacks of
            the embedded model that it was fitted on; above `autotc.conflicts.predicted.CONFLICT_THRESHOLD` it says
            conflict.
        features: what the score is made of, see `autotc.conflicts.predicted.features`; of the stack with the highest
            score.
        reason: the same in words.
    """

    score: float
    features: Mapping[str, float]
    reason: str


@dataclass(frozen=True)
class InteractionRow:
    """A pair, as predicted and as measured."""

    measured: Interaction
    prediction: Prediction

    def to_json(self) -> dict[str, Any]:
        """A row of the ``--json`` document."""
        measured, pair = self.measured, self.measured.pair
        return {
            "first": pair.first.label,
            "second": pair.second.label,
            "modality": pair.modality,
            "keep": list(pair.keeps),
            "predicted": self.prediction.score,
            "interaction": measured.interaction.mean,
            "interval": [measured.interaction.low, measured.interaction.high],
            "verdict": measured.effect,
            "additive": list(measured.additive),
            "better": measured.better,
            "accuracy": dict(measured.accuracy),
            "flops_ratio": dict(measured.flops_ratio),
            "reached": list(measured.reached),
            "keep_alone": dict(measured.ratios),
            "samples": measured.samples,
            "features": dict(self.prediction.features),
            "words": self.words(),
        }

    def words(self) -> str:
        """The pair in a sentence or three."""
        measured, pair = self.measured, self.measured.pair
        names = {"first": pair.first.label, "second": pair.second.label}
        accuracy = {name: 100 * value for name, value in measured.accuracy.items()}
        unclear = "cannot be told from its better stage"
        says = {"conflict": "loses", "synergy": "gains", "neutral": unclear}[measured.effect]
        alone = (
            f"{names[measured.worse]} alone, {accuracy[measured.worse]:.1f}%"
            if len(measured.reached) > 1
            else f"{names[measured.worse]} alone cannot cost so little"
        )
        return (
            f"{pair.label} {says}: {points(measured.interaction, ' points')}. The stack is right on"
            f" {accuracy['stack']:.1f}%, {names[measured.better]} alone at its cost"
            f" ({measured.flops_ratio['stack']:.3f} of the FLOPs, keeping {measured.ratios[measured.better]:g}) on"
            f" {accuracy[measured.better]:.1f}%; {alone}. On calibration samples, {self.prediction.reason}."
        )


def points(value: Interval, unit: str = "") -> str:
    """A difference in accuracy in points, e.g. ``-4.0 [-6.5, -1.2]``; a unit stands behind the mean."""
    mean, low, high = (100 * bound for bound in value)
    return f"{mean:+.1f}{unit} [{low:+.1f}, {high:+.1f}]"


@dataclass(frozen=True)
class SkippedPair:
    """A pair that was not measured, and why."""

    label: str
    why: str


@dataclass(frozen=True)
class Conflicts:
    """What `autotc.conflicts` found.

    Attributes:
        folder: where everything was written.
        rows: one for each pair, in the order given.
        skipped: pairs that were not measured.
        files: JSON, table and figures.
    """

    folder: Path
    rows: tuple[InteractionRow, ...]
    skipped: tuple[SkippedPair, ...]
    files: tuple[Path, ...] = ()

    def to_json(self) -> list[dict[str, Any]]:
        """The ``--json`` document."""
        return [row.to_json() for row in self.rows]

    def ranked(self) -> list[InteractionRow]:
        """From the worst interaction to the best."""
        return sorted(self.rows, key=lambda row: row.measured.interaction.mean)

    def to_pandas(self) -> pd.DataFrame:
        """One line for each pair.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return frame(self.to_json())

    def _repr_html_(self) -> str:
        keys = ("modality", "first", "second", "keep", "predicted", "interaction", "interval", "verdict")
        return html_table(
            [{key: row.to_json()[key] for key in keys} for row in self.ranked()], "interactions of stages"
        )
