"""Whether the uncompressed model knows the task: where it guesses, no policy can be told from another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from autotc.errors import one_line, quote
from autotc.evaluate.base import Evaluator
from autotc.evaluate.samples import Sample
from autotc.results import Results, SampleResult
from autotc.search.errors import SearchError
from autotc.statistics import quantile

SHOWN = 3
"""Prompts that are shown."""
FEWEST = 20
"""Samples of a modality group from which on it is told whether they were guessed."""
_GUESSED = quantile(0.95)
"""Standard errors above guessing within which an accuracy may be luck: 95%, one-sided."""
_LENGTH = 160
"""Characters of a prompt or an answer that are shown."""


def chance_level(results: Results, chance_by_task: Mapping[str, float]) -> float:
    """Accuracy of guessing, as the mean over modality groups.

    Args:
        results: whose samples count.
        chance_by_task: accuracy of guessing, 0 where it is not known.
    """
    return float(np.mean([np.mean(values) for values in _chances(results, chance_by_task).values()]))


def check_sanity(results: Results, evaluator: Evaluator) -> tuple[list[str], SearchError] | None:
    """What to say where the uncompressed model is right on no sample of a modality group, or no better than a guess.

    Args:
        results: of the uncompressed model on the search split.
        evaluator: that gave them.

    Returns:
        Lines that show a few prompts with what was said and what is right, and the error to raise; None where the model
        knows the task.
    """
    chances = _chances(results, evaluator.info("search").chance)
    for group, scores in results.groups("modality").items():
        guessing = float(np.mean(chances[group]))
        spread = math.sqrt(guessing * (1 - guessing) / len(scores))
        if not scores.any():
            found = f"right on none of the {len(scores)} samples of {group}"
        elif len(scores) >= FEWEST and scores.mean() <= guessing + _GUESSED * spread:
            found = (
                f"no better than a guess on {group}: {scores.mean():.3f} of {len(scores)} samples, where the most"
                f" frequent answer is right in {guessing:.3f}"
            )
        else:
            continue
        error = SearchError(
            f"the uncompressed model is {found}, so that no policy can be told from another; look at the answers above,"
            " at the metric and the data; --force searches all the same"
        )
        wrong = [sample for sample in results.samples if sample.modality == group and sample.correct < 1]
        return list(_shown(wrong[:SHOWN], evaluator)), error
    return None


def _chances(results: Results, chance_by_task: Mapping[str, float]) -> dict[str, list[float]]:
    """The accuracy of guessing on each sample, by modality group."""
    groups: dict[str, list[float]] = {}
    for sample in results.samples:
        groups.setdefault(sample.modality, []).append(chance_by_task.get(sample.task, 0.0))
    return groups


def _shown(samples: Sequence[SampleResult], evaluator: Evaluator) -> Iterator[str]:
    """Prompt, what was said and what is right, of each sample."""
    observable = evaluator.observable()
    asked: dict[str, Sample] = {}
    if observable is not None:
        asked = {sample.id: sample for sample in observable.samples("search")}
    for result in samples:
        sample = asked.get(result.id)
        if sample is None:
            yield f"{result.id}: said {quote(result.answer)}"
        else:
            prompt = one_line(sample.prompt, _LENGTH)
            yield (
                f"{sample.named}: {prompt}\n"
                f"  said  {quote(one_line(result.answer, _LENGTH))}\n"
                f"  right {quote(one_line(sample.answer, _LENGTH))}"
            )
