"""Budgets that follow the sample: how the keep ratio of an item rises with a score of it, and the numbers for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from autotc.documents import Number
from autotc.errors import PolicyError, quote
from autotc.mechanisms.contract import MechanismBase
from autotc.mechanisms.item_scores import item_needs
from autotc.mechanisms.scores import Score
from autotc.vocabulary import ItemScore, Location

KNOTS = 9
"""Quantiles of the scores that a fitted budget holds."""
MOST_KNOTS = 1000
_DIGITS = 6


class AdaptiveBudget(BaseModel):
    """How the keep ratio of an item follows a score of it.

    An item's level is where its score stands among those of a calibration split: 0 at the mean, negative below it,
    within [-1, 1]. A step with keep ratio k keeps k + spread x min(k, most - k) x level of the item: at most ``most``,
    at least 0 before rounding, rising with the score (falling, where ``spread`` is negative) and, since levels have
    mean 0 over the tokens of that split, k on average there, at every k.

    Attributes:
        score: of the item; see `ItemScore`.
        spread: in [-1, 1], not 0: the part of the room below and above the keep ratio that is used.
        scores: the score's quantiles over the calibration split, evenly spaced from lowest to highest and ascending;
            None where the budget is not fitted yet, and policies that hold it cannot be applied.
        centre: in (0, 1), mean rank among them of the split's tokens; None as ``scores``.
        most: in (0, 1], the highest keep ratio of an item: what the stages before leave of each; None is 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    score: ItemScore = "variety"
    spread: Annotated[float, Number, Field(ge=-1, le=1)] = 0.5
    scores: Annotated[tuple[Annotated[float, Number, Field(allow_inf_nan=False)], ...] | None, Field()] = None
    centre: Annotated[float, Number, Field(gt=0, lt=1)] | None = None
    most: Annotated[float, Number, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> AdaptiveBudget:
        if self.spread == 0:
            raise PolicyError(
                "budget.spread: 0 given, which is a fixed budget; leave budget out, or give one in [-1, 1]"
            )
        if (self.scores is None) != (self.centre is None):
            lacking = "centre" if self.centre is None else "scores"
            raise PolicyError(f"budget.{lacking}: missing; scores and centre are fitted together")
        if self.scores is not None:
            if not 2 <= len(self.scores) <= MOST_KNOTS:
                raise PolicyError(f"budget.scores: {len(self.scores)} given; 2 to {MOST_KNOTS} are allowed")
            if any(b <= a for a, b in zip(self.scores, self.scores[1:], strict=False)):
                raise PolicyError(
                    "budget.scores: they do not rise; quantiles in ascending order, none twice, are right"
                )
        return self

    @property
    def fitted(self) -> bool:
        """Whether it says what an item gets."""
        return self.scores is not None

    def needs(self, location: Location) -> tuple[Score, ...]:
        """Scores of tokens that its score of the item reads at a location.

        Raises:
            PolicyError: its score does not exist there.
        """
        return item_needs(self.score, location)

    def level(self, score: float) -> float:
        """Where an item's score stands, in [-1, 1]; scores beyond the calibration split's count as its ends.

        Raises:
            PolicyError: the budget is not fitted.
        """
        if self.scores is None or self.centre is None:
            raise PolicyError("budget: not fitted")
        rank = float(np.interp(score, self.scores, np.linspace(0.0, 1.0, len(self.scores))))
        return (rank - self.centre) / max(self.centre, 1.0 - self.centre)

    def ratio(self, keep_ratio: float, level: float) -> float:
        """Keep ratio of an item at a level, of a step whose keep ratio is ``keep_ratio``; in [0, 1]."""
        room = max(0.0, min(keep_ratio, (self.most or 1.0) - keep_ratio))
        return keep_ratio + self.spread * room * level

    def lowest(self, keep_ratio: float) -> float:
        """A bound below the keep ratio of every item."""
        return min(self.ratio(keep_ratio, -1.0), self.ratio(keep_ratio, 1.0))

    def fit(self, scores: Sequence[float], tokens: Sequence[float]) -> AdaptiveBudget:
        """This budget with the numbers that make its mean over a calibration split the keep ratio.

        Args:
            scores: of the split's items.
            tokens: uncompressed ones of each, times how many items it stands for: the mean is over tokens.

        Raises:
            PolicyError: there are no two different scores.
        """
        order = np.argsort(np.asarray(scores, float), kind="stable")
        value, weight = np.asarray(scores, float)[order], np.asarray(tokens, float)[order]
        if not len(value) or not np.isfinite(value).all() or value[0] == value[-1]:
            raise PolicyError(
                f"budget.score: {self.score} is the same of all {len(value)} samples it was fitted on; more samples, or"
                " another score, is needed"
            )
        middle = np.cumsum(weight) - weight / 2
        place = (middle - middle[0]) / (middle[-1] - middle[0])
        quantiles = np.interp(np.linspace(0.0, 1.0, KNOTS), place, value)
        knots = tuple(dict.fromkeys(float(f"{knot:.{_DIGITS}g}") for knot in quantiles))
        if len(knots) < 2:
            raise PolicyError(f"budget.score: {self.score} differs by less than can be told; another score is needed")
        ranks = np.interp(value, knots, np.linspace(0.0, 1.0, len(knots)))
        centre = round(float((ranks * weight).sum() / weight.sum()), 9)
        return self.model_copy(update={"scores": knots, "centre": centre})


def _as_budget(value: object) -> object:
    """``adaptive`` for a budget with every field at its default, ``fixed`` for none."""
    if isinstance(value, str):
        if value not in ("adaptive", "fixed"):
            raise PolicyError(
                f"budget: {quote(value)} given; adaptive, fixed, or a mapping of score and spread is right"
            )
        return {} if value == "adaptive" else None
    return value


StageBudget = Annotated[AdaptiveBudget | None, BeforeValidator(_as_budget)]
"""The field of stages and of a space's choices."""


def check_budget(budget: AdaptiveBudget | None, mechanism: MechanismBase, location: Location) -> None:
    """Refuse a budget that follows what does not exist where a stage stands, or beside a count of the rule's own.

    Raises:
        PolicyError: with what would be right.
    """
    if budget is None:
        return
    if location == "input":
        raise PolicyError("budget: adaptive given; at the input there are no tokens to score, so fixed is right")
    budget.needs(location)
    if mechanism.adaptive:
        raise PolicyError(f"budget: adaptive given beside params.adaptive of {mechanism.name}; one of the two is right")
