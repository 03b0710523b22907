"""What a model answers to a batch: the right answers forced through one prefill's cache, and, where that does not tell
what `generate()` would say, that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from autotc.errors import DataError
from autotc.evaluate.batches import Batch
from autotc.evaluate.decoding import branch, end_tokens, follow, greedy, is_plain, prefill
from autotc.evaluate.metrics import METRICS, Metric, score_best
from autotc.evaluate.samples import Sample
from autotc.policy import Policy
from autotc.results import DIGITS, SampleResult
from autotc.runtime.reuse import applied
from autotc.runtime.steps import StageStats

_IMPOSSIBLE = -60.0
"""Log-probability of what has been counted with something else."""
_TEACHER_TOKENS = 64
"""Likeliest tokens of the uncompressed model that the divergence tells apart."""


@dataclass(frozen=True)
class Answered:
    """What came of a batch.

    Attributes:
        results: of each sample, in the batch's order.
        finite: of each sample, whether its logits were; what came of others means nothing.
        stats: what each reduction of an adaptive policy's prefill left; empty for other policies.
    """

    results: list[SampleResult]
    finite: list[bool]
    stats: Sequence[StageStats]


class Answerer(Protocol):
    """Runs a batch under a policy and scores the answers."""

    def answer(self, policy: Policy, batch: Batch, device: torch.device) -> Answered:
        """Results of a batch.

        Args:
            policy: to apply.
            batch: prepared under the policy's input stages.
            device: where inputs go.
        """


@dataclass(frozen=True)
class Teacher:
    """What the uncompressed model predicts at the positions of a right answer (P): its likeliest tokens and the rest.

    Attributes:
        tokens: (P, K) long.
        log_probability: (P, K + 1) float, of the tokens and, last, of all others together.
    """

    tokens: Tensor
    log_probability: Tensor

    @classmethod
    def of(cls, log_probability: Tensor) -> Teacher:
        """From log-probabilities (P, vocabulary)."""
        tokens = log_probability.topk(min(_TEACHER_TOKENS, log_probability.shape[1] - 1), dim=1).indices
        return cls(tokens, _with_rest(log_probability, tokens))

    def divergence(self, log_probability: Tensor) -> float:
        """KL divergence of other log-probabilities (P, vocabulary) from these, mean over positions, in nats.

        All tokens but the teacher's likeliest count as one, so it is at most the divergence over the vocabulary.
        """
        teacher, student = self.log_probability, _with_rest(log_probability, self.tokens)
        return float((teacher.exp() * (teacher - student)).sum(1).mean().clamp_min(0))


def _with_rest(log_probability: Tensor, tokens: Tensor) -> Tensor:
    """Log-probabilities (P, K + 1) of some tokens (P, K) and of all others together."""
    some = log_probability.gather(1, tokens)
    rest = (1 - some.double().exp().sum(1, keepdim=True)).clamp_min(1e-9).log().float()
    return torch.cat([some, rest], 1)


@dataclass(frozen=True)
class _Forced:
    """A right answer forced through a prompt's cache.

    Attributes:
        log_probability: of the answer and its end, summed.
        divergence: of the predictions from the uncompressed model's.
        text: what greedy decoding says; None where it has to go on to tell.
        finite: whether the logits were.
        finite: whether the logits were.
    """

    log_probability: float
    divergence: float
    text: str | None
    finite: bool


class ForcedAnswerer:
    """Forces right answers; decodes greedily, or generates, only where they do not tell what the model would say.

    The first run of a sample without stages makes its `Teacher`, which later divergences are measured from.

    Args:
        model, processor: as loaded by transformers.
        metric: scores an answer.
        max_new_tokens: limit of an answer.
        wrong_token_decides: an answer counts as known, and wrong, from the first token that is not the right answer's.
    """

    def __init__(
        self, model: Any, processor: Any, metric: Metric, *, max_new_tokens: int, wrong_token_decides: bool
    ) -> None:
        self._model, self._tokenizer, self._metric = model, processor.tokenizer, metric
        self._max_new_tokens, self._wrong_token_decides = max_new_tokens, wrong_token_decides
        self._teachers: dict[str, Teacher] = {}

    @property
    def _ends(self) -> list[int]:
        return end_tokens(self._model, self._tokenizer)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _score(self, sample: Sample, said: str) -> float:
        return score_best(METRICS.get(sample.metric, self._metric), said, sample.answers)

    @torch.inference_mode()
    def answer(self, policy: Policy, batch: Batch, device: torch.device) -> Answered:
        """Results of a batch; see `Answerer`.

        Raises:
            DataError: a right answer has no tokens.
        """
        answers = [self._tokenizer(s.answer, add_special_tokens=False)["input_ids"] for s in batch.samples]
        if not all(answers):
            raise DataError(f"{batch.samples[0].id}: an answer has no tokens; a non-empty answer is needed")
        # A copy: what is kept of all batches stays in the host's memory.
        inputs = type(batch.inputs)(dict(batch.inputs)).to(device)
        mask = inputs["attention_mask"]
        plain = is_plain(self._model.generation_config)
        rows: list[list[int]] = []
        with applied(self._model, policy, inputs, batch.features) as handle:
            prompt = prefill(self._model, inputs)
            # Where greedy decoding may have to go on from the prompt, the right answers get a cache of their own.
            cache = branch(prompt) if plain and not self._wrong_token_decides else prompt
            forced = self._force(cache, mask, answers, batch.samples, policy)
            open_ended = any(f.text is None for f in forced)
            if cache is not prompt and open_ended:
                rows = greedy(self._model, prompt, mask, self._ends, self._max_new_tokens)
        if not plain or (open_ended and not rows):
            with applied(self._model, policy, inputs, batch.features):
                ids = self._model.generate(**inputs, max_new_tokens=self._max_new_tokens, do_sample=False)
            rows = ids[:, inputs["input_ids"].shape[1] :].tolist()
        texts = [self._text(rows[i]) if f.text is None or not plain else f.text for i, f in enumerate(forced)]
        results = [
            SampleResult(s.id, s.task, s.group, self._score(s, t), t, f.log_probability, f.divergence, s.cluster)
            for s, t, f in zip(batch.samples, texts, forced, strict=True)
        ]
        return Answered(results, [f.finite for f in forced], handle.stats[0] if policy.adaptive else ())

    def _force(
        self, prompt: Any, mask: Tensor, answers: Sequence[Sequence[int]], samples: Sequence[Sample], policy: Policy
    ) -> list[_Forced]:
        """Force each right answer (token ids) through a prompt's cache, which grows."""
        ends = self._ends
        end = ends[0]
        logits, targets = follow(self._model, prompt, mask, answers, end)
        finite = [not bool(logits[i, : len(answer) + 1].isnan().any()) for i, answer in enumerate(answers)]
        likeliest: list[list[int]] = logits.argmax(-1).tolist()
        if len(ends) > 1:  # any of them ends the answer
            logits[..., end] = logits[..., ends].logsumexp(-1)
            logits[..., [e for e in ends if e != end]] = _IMPOSSIBLE
        picked = logits.gather(2, targets[..., None])[..., 0]
        out = []
        for i, answer in enumerate(answers):
            predicted = logits[i, : len(answer) + 1]
            if not policy.stages and samples[i].id not in self._teachers:
                self._teachers[samples[i].id] = Teacher.of(predicted)
            teacher = self._teachers.get(samples[i].id)
            out.append(
                _Forced(
                    round(float(picked[i, : len(answer) + 1].sum()), DIGITS),
                    math.nan if teacher is None else round(teacher.divergence(predicted), DIGITS),
                    self.settled(samples[i].answer, answer, likeliest[i]),
                    finite[i],
                )
            )
        return out

    def settled(self, right: str, answer: Sequence[int], likeliest: Sequence[int]) -> str | None:
        """What greedy decoding says, as far as the likeliest tokens along the right answer tell.

        Args:
            right: the right answer's text.
            answer: its W tokens.
            likeliest: (W + 1) token after the prompt and after each of them.

        Returns:
            Where greedy decoding leaves the right answer: what it said so far, if that is wrong whatever follows, or
            None, if it has to go on.
        """
        ends = self._ends
        for i in range(min(len(answer) + 1, self._max_new_tokens)):
            if likeliest[i] in ends:
                return self._text(answer[:i])
            if i == len(answer) or likeliest[i] != answer[i]:
                text = self._text([*answer[:i], likeliest[i]])
                return text if self._wrong_token_decides and not self._metric(text, right) else None
        return self._text(answer[: self._max_new_tokens])
