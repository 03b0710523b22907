"""Races: a policy starts on few samples, in a fixed order, and goes on while it may still be better than the front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autotc.results import Results

Array = NDArray[np.float64]
RUNGS = (1 / 8, 3 / 8)
"""Shares of a split after which a race is judged."""
LEAST = 16
"""Samples before which nothing is judged."""
CONFIDENCE = 0.67
"""Standard errors of the paired difference that a policy may be behind: 75%, one-sided, at each look. Many policies are
nearly as good as the front; to be sure that one of them is worse costs more than to lose it."""


@dataclass(frozen=True)
class Evidence:
    """What is known of a policy on the first samples of a modality group.

    Attributes:
        correct: (n,) scores of the answers.
        probability: (n,) probability given to the right answer: what the score would be on the average if answers were
            drawn, and so the same with less noise.
    """

    correct: Array
    probability: Array

    @classmethod
    def of(cls, results: Results) -> Evidence:
        """From per-sample results."""
        correct, log = results.correct, results.log_probabilities
        # Without a log-probability, as of tasks that are only generated, the score stands alone.
        return cls(correct, np.where(np.isfinite(log), np.exp(np.clip(log, -60, 0)), correct))

    def __len__(self) -> int:
        return len(self.correct)

    @property
    def soft(self) -> Array:
        """(n,) mean of score and probability."""
        return (self.correct + self.probability) / 2

    def beaten(self, other: Evidence, confidence: float = CONFIDENCE) -> bool:
        """Whether another policy is better on the same samples, by a paired one-sided test.

        One win and one loss are added to what was seen, so that a few samples without a difference do not count as
        certainty.

        Raises:
            ValueError: the other has seen fewer samples.
        """
        n = len(self)
        if len(other) < n:
            raise ValueError(f"{len(other)} samples of the other; {n} are needed to pair them")
        delta = self.soft - other.soft[:n]
        mean = float(delta.sum()) / (n + 2)
        spread = max(0.0, float(delta @ delta + 2) / (n + 2) - mean**2)
        return bool(mean + confidence * (spread / (n + 2)) ** 0.5 < 0)


def rungs(total: int) -> list[int]:
    """Numbers of samples at which a race over ``total`` samples is judged; the last is all of them."""
    return [*sorted({n for share in RUNGS if (n := max(LEAST, round(share * total))) < total}), total]
