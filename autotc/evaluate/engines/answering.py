"""Answers of an engine, scored as an evaluator scores them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch

from autotc.evaluate.answers import Answered
from autotc.evaluate.batches import Batch
from autotc.evaluate.engines.client import Client, Question
from autotc.evaluate.metrics import METRICS, Metric, score_best
from autotc.evaluate.samples import Sample
from autotc.policy import Policy
from autotc.results import SampleResult


class Scorer(Protocol):
    """How an evaluator has its samples answered and what it makes of an answer."""

    def new_tokens(self, sample: Sample) -> int:
        """Most tokens of an answer.

        Raises:
            DataError: the sample wants something that is no text.
        """

    def score(self, sample: Sample, text: str) -> tuple[float, str]:
        """Score in [0, 1] of what was said, and the part of it that counts."""


@dataclass(frozen=True)
class MetricScorer:
    """Scores by a metric of text.

    Attributes:
        metric: of what was said and what is right.
        limit: most tokens of an answer.
    """

    metric: Metric
    limit: int

    def new_tokens(self, sample: Sample) -> int:
        """As `Scorer.new_tokens` says."""
        return self.limit

    def score(self, sample: Sample, text: str) -> tuple[float, str]:
        """As `Scorer.score` says."""
        return score_best(METRICS.get(sample.metric, self.metric), text, sample.answers), text


class EngineAnswerer:
    """Has an engine answer batches; see `autotc.evaluate.answers.Answerer`.

    An engine tells its text alone: log-probability and divergence of right answers are not measured (NaN).

    Args:
        client: asks the engine.
        scorer: of the evaluator.
    """

    def __init__(self, client: Client, scorer: Scorer) -> None:
        self._client, self._scorer = client, scorer

    def answer(self, policy: Policy, batch: Batch, device: torch.device) -> Answered:
        """Results of a batch."""
        questions = []
        for sample in batch.samples:
            media = sample.media()
            questions.append(Question(sample.named, sample.chat(media), media, self._scorer.new_tokens(sample)))
        said = self._client.answers(policy, questions)
        results = []
        for sample, text in zip(batch.samples, said, strict=True):
            score, counted = self._scorer.score(sample, text)
            results.append(
                SampleResult(sample.id, sample.task, sample.group, score, counted, math.nan, cluster=sample.cluster)
            )
        return Answered(results, [True] * len(results), ())
