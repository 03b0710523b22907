"""The evaluator that runs tasks of lmms-eval."""

from __future__ import annotations

import functools
import hashlib
import math
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autotc.cost import Cost, Request, request_shapes
from autotc.errors import DataError
from autotc.evaluate.decoding import branch, continuations, end_tokens, follow, greedy, is_plain, prefill
from autotc.evaluate.lmms.media import MODALITIES, Prompt, Reading
from autotc.evaluate.lmms.phases import Phases
from autotc.evaluate.lmms.tasks import CHOOSE, Generation, LmmsTask, load_tasks
from autotc.evaluate.model import ModelEvaluator, Sample, _Batch
from autotc.evaluate.splits import SHARES, Member, divide, rank
from autotc.policy import UNCOMPRESSED, Policy
from autotc.progress import Progress
from autotc.results import Results, SampleResult, SplitInfo
from autotc.runtime import apply
from autotc.runtime.features import cached_features
from autotc.vocabulary import Group, Split

KEPT_BYTES = 1 << 30
"""Media that stay decoded between the first look at them and their processing; others are read again."""


@dataclass(frozen=True)
class LmmsSample(Sample):
    """A document.

    Attributes:
        source: its task.
        index: its place in the task.
        turns: its conversation, without media.
        generation: how its answer is generated; None for a multiple choice.
        choices: answers of a multiple choice.
    """

    source: LmmsTask = field(compare=False)
    index: int
    turns: tuple[dict[str, Any], ...] = field(compare=False)
    generation: Generation | None
    choices: tuple[str, ...]


class LmmsEvaluator(ModelEvaluator):
    """Evaluates on tasks of lmms-eval, with scores for each document.

    Tasks, requests and processed inputs are made once; a run of a policy after the first pays for the model alone.
    Documents are divided by the seed into search (40%), val (20%) and test (40%); those that share a picture or a clip
    stay together, also across tasks. Decoding is greedy, whatever sampling a task asks for: a search needs answers that
    can be repeated. Where a task names no right answer its log-probability counts as 0.

    Args:
        tasks: names of tasks, groups or tags, or what `load_tasks` made of them; their order does not matter.
        model, processor: as loaded by transformers; None takes the embedded model.
        folder: of task files of the user's own.
        metric: of the tasks' own that scores documents; None takes each task's first.
        limit: documents of each modality group and split; None takes all.
        seed: of the splits.
        batch_size: documents of one forward.
        max_new_tokens: of answers, where a task does not say.
        frames: that longer videos are thinned to.

    Attributes:
        phases: where the time went: ``tasks``, ``requests``, ``media``, ``inputs``, ``model``, ``scores``.

    Raises:
        DataError: a task is unknown, cannot be loaded or cannot be evaluated here.
        MissingDependencyError: lmms-eval is missing or of a version that does not fit.
    """

    name = "lmms"

    def __init__(
        self,
        tasks: Sequence[str] | Sequence[LmmsTask],
        model: Any = None,
        processor: Any = None,
        *,
        folder: str | Path | None = None,
        metric: str | None = None,
        limit: int | None = None,
        seed: int = 0,
        batch_size: int = 8,
        max_new_tokens: int = 128,
        frames: int = 32,
    ) -> None:
        self.phases = Phases()
        with self.phases.phase("tasks"):
            names = [task for task in tasks if isinstance(task, str)]
            given = [task for task in tasks if isinstance(task, LmmsTask)]
            self._tasks = given or load_tasks(names, folder)
        for task in self._tasks:
            if metric is not None and metric not in task.metrics:
                raise DataError(f"--metric: {task.name} has no {metric!r}; it has {', '.join(task.metrics)}")
        if model is None:
            from autotc.tiny import load

            with self.phases.phase("model loading"):
                model, processor = load()
        super().__init__(model, processor, seed=seed, batch_size=batch_size, max_new_tokens=max_new_tokens)
        self._task_metric, self._limit = metric, limit
        self._reading = Reading.of(processor, frames)
        self._processor.tokenizer.padding_side = "left"  # answers go on from the end
        self._samples: dict[Split, list[Sample]] = {}
        self._kept: dict[str, Prompt] = {}
        self._room = KEPT_BYTES
        with self.phases.phase("requests"):
            self._texts = {task.name: list(task.texts()) for task in self._tasks}
            self._indices = self._divided()

    @property
    def modalities(self) -> tuple[str, ...]:  # type: ignore[override]
        """Modalities its samples hold, in the splits that were looked at; the search split where none was."""
        looked: list[Split] = list(self._samples) or ["search"]
        groups = {sample.group for split in looked for sample in self.samples(split)}
        held = {part for group in groups for part in Group(group).modalities}
        return tuple(name for name in MODALITIES.values() if name in held)

    # --- samples ---

    def _divided(self) -> dict[Split, dict[str, list[int]]]:
        """Split -> task -> documents in the seed's order."""
        members = [
            Member(task.id(index), task.name, shared)
            for task in self._tasks
            for index, shared in enumerate(task.shares())
        ]
        where = divide(members, self.seed)
        out: dict[Split, dict[str, list[int]]] = {split: {} for split in SHARES}
        for task in self._tasks:
            for index in sorted(range(len(task)), key=lambda i: rank(task.id(i), self.seed)):
                out[where[task.id(index)]].setdefault(task.name, []).append(index)
        for split, found in out.items():
            if not found:
                raise DataError(
                    f"--tasks: {len(members)} documents leave the {split} split without any; tasks with at least 3"
                    " documents that share no media are needed (hundreds for narrow intervals)"
                )
        return out

    def samples(self, split: Split) -> Sequence[Sample]:
        if split not in self._samples:
            with self.phases.phase("requests"):
                by_group: dict[str, dict[str, list[Sample]]] = {}
                for task in self._tasks:
                    for index in self._indices[split].get(task.name, [])[: self._limit]:
                        sample = self._sample(task, index)
                        by_group.setdefault(sample.group, {}).setdefault(task.name, []).append(sample)
                    if {group for group, tasks in by_group.items() if task.name in tasks} == {"text"}:
                        raise DataError(f"--tasks: {task.name} shows no media: there is nothing to compress")
                self._samples[split] = [s for tasks in by_group.values() for s in _in_turn(tasks)[: self._limit]]
        return self._samples[split]

    def _sample(self, task: LmmsTask, index: int) -> Sample:
        with self.phases.phase("media"):
            prompt = task.prompt(index, self._reading)
        size = sum(_size(item) for items in prompt.media.values() for item in items)
        if size <= self._room:
            self._kept[task.id(index)] = prompt
            self._room -= size
        choices = tuple(task.choices(index)) if task.kind == CHOOSE else ()
        generation = None if choices else Generation.of(task.task.config.generation_kwargs, self._max_new_tokens)
        answer = self._texts[task.name][index][1]
        return LmmsSample(
            task.id(index), task.name, prompt.group, prompt.text, answer, functools.partial(self._media, task, index),
            task, index, prompt.turns, generation, choices,
        )  # fmt: skip

    def _media(self, task: LmmsTask, index: int) -> Mapping[str, list[Any]]:
        kept = self._kept.get(task.id(index))
        with self.phases.phase("media"):
            return (kept or task.prompt(index, self._reading)).media

    def info(self, split: Split) -> SplitInfo:
        """Samples of the split; hash and chance levels of all its documents, whatever the limit."""
        digest = hashlib.sha256()
        chance = {}
        for task in self._tasks:
            answers: Counter[str] = Counter()
            for index in self._indices[split].get(task.name, []):
                question, answer = self._texts[task.name][index]
                digest.update(f"{task.id(index)}\0{question}\0{answer}\n".encode())
                answers[answer] += 1
            if answers:
                chance[task.name] = max(answers.values()) / answers.total()
        groups = {name: len(members) for name, members in self._groups(split).items()}
        return SplitInfo(groups, digest.hexdigest()[:32], chance)

    def untouched(self, policy: Policy, split: Split) -> dict[str, str]:
        """Task -> modality group, of the tasks whose samples the policy leaves as they are."""
        touched = set(policy.modalities)
        return {s.task: s.group for s in self.samples(split) if not touched & set(Group(s.group).modalities)}

    # --- inputs ---

    def _chat(self, sample: Sample, media: Mapping[str, list[Any]]) -> str:
        assert isinstance(sample, LmmsSample)
        turns = list(sample.turns)
        text: str = self._processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return text

    def _process(self, samples: Sequence[Sample], call: Any) -> Any:
        with self.phases.phase("inputs"):
            return super()._process(samples, call)

    def _batch_key(self, sample: Sample) -> Hashable:
        assert isinstance(sample, LmmsSample)
        return sample.generation is None, str(sample.generation), self._answer_length(sample) > 1

    def _all_requests(self, split: Split, group: str) -> Counter[Request]:
        """Shapes of a group's requests: those of the inputs that will run."""
        if (split, group) not in self._shapes:
            shapes: Counter[Request] = Counter()
            for batch in self._prepared(split, group, UNCOMPRESSED, len(self._groups(split)[group])):
                shapes.update(request_shapes(self._adapter, self._model.config, batch.inputs))
            self._shapes[split, group] = shapes
        return self._shapes[split, group]

    # --- running ---

    def run(
        self,
        policy: Policy,
        split: Split,
        *,
        limit: int | None = None,
        groups: Collection[str] | None = None,
        progress: Progress | None = None,
    ) -> Results:
        with self.phases.run(), self.phases.phase("model"):
            # A limit that takes all of a group would be prepared again under another name.
            if limit is not None and all(len(members) <= limit for members in self._groups(split).values()):
                limit = None
            return super().run(policy, split, limit=limit, groups=groups, progress=progress)

    @torch.inference_mode()
    def _run_batch(self, policy: Policy, batch: _Batch, realised: list[tuple[Request, Cost]]) -> list[SampleResult]:
        samples = [sample for sample in batch.samples if isinstance(sample, LmmsSample)]
        inputs = type(batch.inputs)(dict(batch.inputs)).to(self._device)
        generation = samples[0].generation
        plain = generation is not None and generation.beams == 1 and is_plain(self._model.generation_config)
        with cached_features(self._model, inputs, policy, batch.features), apply(self._model, policy) as handle:
            prompt = prefill(self._model, inputs)
            if generation is None:
                said, log_probability = self._choose(prompt, inputs["attention_mask"], samples)
            else:
                log_probability = self._of_answers(prompt, inputs["attention_mask"], samples)
                said = self._greedy(prompt, inputs["attention_mask"], generation) if plain else []
        if policy.adaptive:
            realised += self._measured(policy, batch, handle.stats[0])
        if generation is not None and not plain:
            said = self._generated(policy, batch, inputs, generation)
        with self.phases.phase("scores"):
            return [
                SampleResult(s.id, s.task, s.group, s.source.score(s.index, a, self._task_metric), _shown(s, a), p)
                for s, a, p in zip(samples, said, log_probability, strict=True)
            ]

    def _of_answers(self, prompt: Any, mask: Tensor, samples: Sequence[LmmsSample]) -> list[float]:
        """Log-probability of each right answer; the prompt's cache stays as it is."""
        tokenizer = self._processor.tokenizer
        answers = [tokenizer(s.answer, add_special_tokens=False)["input_ids"] if s.answer else [] for s in samples]
        if not any(answers):
            return [math.nan] * len(samples)
        logits, targets = follow(self._model, branch(prompt), mask, answers, tokenizer.eos_token_id)
        picked = logits.gather(2, targets[..., None])[..., 0]
        return [float(picked[i, : len(answer) + 1].sum()) if answer else math.nan for i, answer in enumerate(answers)]

    def _greedy(self, prompt: Any, mask: Tensor, generation: Generation) -> list[Any]:
        tokenizer = self._processor.tokenizer
        ends = end_tokens(self._model, tokenizer)
        rows = greedy(self._model, prompt, mask, ends, generation.new_tokens)
        return [generation.cut(text) for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]

    def _generated(self, policy: Policy, batch: _Batch, inputs: Any, generation: Generation) -> list[Any]:
        with cached_features(self._model, inputs, policy, batch.features), apply(self._model, policy):
            ids = self._model.generate(
                **inputs, max_new_tokens=generation.new_tokens, num_beams=generation.beams, do_sample=False
            )
        new = ids[:, inputs["input_ids"].shape[1] :]
        texts = self._processor.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [generation.cut(text) for text in texts]

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
            found = continuations(self._model, self._processor.tokenizer, prompt, mask, chosen)
            for i, (total, tokens, is_greedy) in enumerate(found):
                if number < len(samples[i].choices):
                    losses[i].append((-total / tokens, is_greedy))
                    if chosen[i] == samples[i].answer:
                        log_probability[i] = total
        return losses, log_probability


def _shown(sample: LmmsSample, said: Any) -> str:
    """What the model said; of a multiple choice the likeliest."""
    if sample.generation is not None:
        return str(said)
    return sample.choices[min(range(len(said)), key=lambda i: said[i][0])]


def _in_turn(tasks: Mapping[str, list[Sample]]) -> list[Sample]:
    """Samples of several tasks, one of each in turn, so that a limit takes some of all."""
    longest = max(map(len, tasks.values()))
    return [members[i] for i in range(longest) for members in tasks.values() if i < len(members)]


def _size(item: Any) -> int:
    return int(item.width * item.height * 3) if hasattr(item, "width") else int(item.nbytes)
