"""What a model answers to documents of lmms-eval's tasks: text, or a likelihood for each choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autotc.errors import DataError
from autotc.evaluate.answers import Answered
from autotc.evaluate.batches import Batch
from autotc.evaluate.decoding import branch, continuations, end_tokens, follow, greedy, is_plain, prefill
from autotc.evaluate.lmms.generation import Generation
from autotc.evaluate.lmms.samples import LmmsSample
from autotc.evaluate.phases import Phases
from autotc.evaluate.samples import Sample
from autotc.policy import Policy
from autotc.results import DIGITS, SampleResult
from autotc.runtime.reuse import applied


@dataclass(frozen=True)
class TaskScorer:
    """How tasks have text answered and score it; see `autotc.evaluate.engines.answering.Scorer`.

    Attributes:
        metric: of the tasks' own; None takes each task's first.
    """

    metric: str | None

    def new_tokens(self, sample: Sample) -> int:
        """Most tokens of an answer.

        Raises:
            DataError: the task wants a choice, for which likelihoods are compared, or beams.
        """
        generation = sample.generation if isinstance(sample, LmmsSample) else None
        if generation is None:
            raise DataError(f"--tasks: {sample.task} compares likelihoods of choices, which an engine does not tell")
        if generation.beams > 1:
            raise DataError(f"--tasks: {sample.task} wants {generation.beams} beams; an engine answers with one")
        return generation.new_tokens

    def score(self, sample: Sample, text: str) -> tuple[float, str]:
        """Score of what was said, and the part of it that counts."""
        assert isinstance(sample, LmmsSample)
        assert sample.generation is not None  # new_tokens has refused others
        said = sample.generation.cut(text)
        return sample.source.score(sample.index, said, self.metric), said


class TaskAnswerer:
    """Answers documents as their tasks ask, and lets the tasks score the answers.

    Args:
        model, processor: as loaded by transformers.
        metric: of the tasks' own; None takes each task's first.
        phases: times ``scores``.
    """

    def __init__(self, model: Any, processor: Any, metric: str | None, phases: Phases) -> None:
        self._model, self._tokenizer = model, processor.tokenizer
        self._metric, self._phases = metric, phases

    @torch.inference_mode()
    def answer(self, policy: Policy, batch: Batch, device: torch.device) -> Answered:
        """Results of a batch; see `autotc.evaluate.answers.Answerer`."""
        samples = [sample for sample in batch.samples if isinstance(sample, LmmsSample)]
        inputs = type(batch.inputs)(dict(batch.inputs)).to(device)
        mask = inputs["attention_mask"]
        generation = samples[0].generation
        plain = generation is not None and generation.beams == 1 and is_plain(self._model.generation_config)
        said: Sequence[Any] = []
        with applied(self._model, policy, inputs, batch.features) as handle:
            prompt = prefill(self._model, inputs)
            if generation is None:
                said, log_probability = self._choose(prompt, mask, samples)
            else:
                log_probability = self._right_answers(prompt, mask, samples)
                said = self._greedy(prompt, mask, generation) if plain else []
        if generation is not None and not plain:
            said = self._generated(policy, batch, inputs, generation)
        with self._phases.phase("scores"):
            results = [
                SampleResult(
                    s.id,
                    s.task,
                    s.group,
                    s.source.score(s.index, a, self._metric),
                    _shown(s, a),
                    round(p, DIGITS),
                    cluster=s.cluster,
                )
                for s, a, p in zip(samples, said, log_probability, strict=True)
            ]
        return Answered(results, _finite(prompt), handle.stats[0] if policy.adaptive else ())

    def _right_answers(self, prompt: Any, mask: Tensor, samples: Sequence[LmmsSample]) -> list[float]:
        """Log-probability of each right answer; the prompt's cache stays as it is."""
        answers = [
            self._tokenizer(s.answer, add_special_tokens=False)["input_ids"] if s.answer else [] for s in samples
        ]
        if not any(answers):
            return [math.nan] * len(samples)
        logits, targets = follow(self._model, branch(prompt), mask, answers, self._tokenizer.eos_token_id)
        picked = logits.gather(2, targets[..., None])[..., 0]
        return [float(picked[i, : len(answer) + 1].sum()) if answer else math.nan for i, answer in enumerate(answers)]

    def _greedy(self, prompt: Any, mask: Tensor, generation: Generation) -> list[str]:
        rows = greedy(self._model, prompt, mask, end_tokens(self._model, self._tokenizer), generation.new_tokens)
        return [generation.cut(text) for text in self._tokenizer.batch_decode(rows, skip_special_tokens=True)]

    def _generated(self, policy: Policy, batch: Batch, inputs: Any, generation: Generation) -> list[str]:
        with applied(self._model, policy, inputs, batch.features):
            ids = self._model.generate(
                **inputs, max_new_tokens=generation.new_tokens, num_beams=generation.beams, do_sample=False
            )
        new = ids[:, inputs["input_ids"].shape[1] :]
        return [generation.cut(text) for text in self._tokenizer.batch_decode(new, skip_special_tokens=True)]

    def _choose(
        self, prompt: Any, mask: Tensor, samples: Sequence[LmmsSample]
    ) -> tuple[list[list[tuple[float, bool]]], list[float]]:
        """Of each choice the mean negative log-likelihood, whose least lmms-eval takes, and whether it is greedy.

        Returns:
            That, and the right choice's log-probability.
        """
        losses: list[list[tuple[float, bool]]] = [[] for _ in samples]
        log_probability = [math.nan] * len(samples)
        for number in range(max(len(s.choices) for s in samples)):
            chosen = [s.choices[min(number, len(s.choices) - 1)] for s in samples]
            scored = continuations(self._model, self._tokenizer, prompt, mask, chosen)
            for i, (total, tokens, is_greedy) in enumerate(scored):
                if number < len(samples[i].choices):
                    losses[i].append((-total / tokens, is_greedy))
                    if chosen[i] == samples[i].answer:
                        log_probability[i] = total
        return losses, log_probability


def _finite(prompt: Any) -> list[bool]:
    """Of each row, whether the logits that its answer begins with are numbers below infinity."""
    logits = prompt.logits[:, -1]
    good: list[bool] = (~(logits.isnan() | (logits == math.inf)).any(-1)).tolist()
    return good


def _shown(sample: LmmsSample, said: Any) -> str:
    """What the model said; of a multiple choice the likeliest."""
    if sample.generation is not None:
        return str(said)
    return sample.choices[min(range(len(said)), key=lambda i: said[i][0])]
