"""The evaluator that runs tasks of lmms-eval."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotc.cost import Request
from autotc.errors import DataError
from autotc.evaluate.lmms.answers import TaskAnswerer, TaskScorer
from autotc.evaluate.lmms.generation import CHOOSE, Generation
from autotc.evaluate.lmms.loading import load_tasks
from autotc.evaluate.lmms.prompts import Prompt
from autotc.evaluate.lmms.samples import LmmsSample
from autotc.evaluate.lmms.tasks import LmmsTask
from autotc.evaluate.media import MODALITIES, Reading
from autotc.evaluate.model import ModelEvaluator
from autotc.evaluate.phases import Phases
from autotc.evaluate.samples import Sample
from autotc.evaluate.splits import SHARES, Member, clusters, divide, rank
from autotc.policy import UNCOMPRESSED, Policy
from autotc.progress import Progress
from autotc.results import Results, SplitInfo
from autotc.tiny import load
from autotc.vocabulary import Group, Split

KEPT_BYTES = 1 << 30
"""Media that stay decoded between the first look at them and their processing; others are read again."""


@dataclass(frozen=True)
class TaskDefaults:
    """What holds where a task does not say.

    Attributes:
        max_new_tokens: of an answer.
        frames: that longer videos are thinned to, evenly.
    """

    max_new_tokens: int = 128
    frames: int = 32


class LmmsEvaluator(ModelEvaluator):
    """Evaluates on tasks of lmms-eval, with scores for each document.

    Tasks, requests and processed inputs are made once; a run of a policy after the first pays for the model alone.
    Documents are divided by the seed into search (40%), val (20%) and test (40%); those that share a picture or a clip
    stay together, also across tasks. Decoding is greedy, whatever sampling a task asks for: a search needs answers that
    can be repeated. Where a task names no right answer its log-probability counts as 0.

    Args:
        tasks: names of tasks, groups or tags, or what `load_tasks` made of them; their order does not matter.
        model, processor: as loaded by transformers; None takes the embedded model.
        metric: of the tasks' own that scores documents; None takes each task's first.
        limit: documents of each modality group and split; None takes all.
        seed: of the splits.
        batch_size: documents of one forward.
        defaults: what holds where a task does not say.

    Attributes:
        phases: where the time went: ``tasks``, ``requests``, ``media``, ``inputs``, ``model``, ``scores``.

    Raises:
        DataError: a task is unknown, cannot be loaded or cannot be evaluated here.
        MissingDependencyError: lmms-eval is missing or of a version that does not fit.
    """

    name = "lmms"
    phases: Phases

    def __init__(
        self,
        tasks: Sequence[str] | Sequence[LmmsTask],
        model: Any = None,
        processor: Any = None,
        *,
        metric: str | None = None,
        limit: int | None = None,
        seed: int = 0,
        batch_size: int = 8,
        defaults: TaskDefaults | None = None,
    ) -> None:
        defaults = defaults or TaskDefaults()
        self.phases = Phases()
        with self.phases.phase("tasks"):
            names = [task for task in tasks if isinstance(task, str)]
            given = [task for task in tasks if isinstance(task, LmmsTask)]
            self._tasks = given or load_tasks(names)
        for task in self._tasks:
            if metric is not None and metric not in task.metrics:
                raise DataError(f"--metric: {task.name} has no {metric!r}; it has {', '.join(task.metrics)}")
        if model is None:
            with self.phases.phase("model loading"):
                model, processor = load()
        super().__init__(model, processor, seed=seed, batch_size=batch_size, max_new_tokens=defaults.max_new_tokens)
        self.answerer = TaskAnswerer(self.loaded, self.processor, metric, self.phases)
        self.metric_identity = metric or "each task's first"
        self.scorer = TaskScorer(metric)
        self._limit, self._max_new_tokens = limit, defaults.max_new_tokens
        self._reading = Reading.of(processor, defaults.frames)
        self.processor.tokenizer.padding_side = "left"  # answers go on from the end
        self._samples: dict[Split, list[Sample]] = {}
        self._kept: dict[str, Prompt] = {}
        self._room = KEPT_BYTES
        with self.phases.phase("requests"):
            self._texts = {task.name: list(task.texts()) for task in self._tasks}
            self._shared = {task.name: task.shares() for task in self._tasks}
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
            Member(task.id(index), task.name, shared, task.cluster(index))
            for task in self._tasks
            for index, shared in enumerate(self._shared[task.name])
        ]
        where, self._clusters = divide(members, self.seed), clusters(members)
        out: dict[Split, dict[str, list[int]]] = {split: {} for split in SHARES}
        for task in self._tasks:
            for index in sorted(range(len(task)), key=lambda i: rank(task.id(i), self.seed)):
                out[where[task.id(index)]].setdefault(task.name, []).append(index)
        for split, tasks in out.items():
            if not tasks:
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
            task.id(index),
            task.name,
            prompt.group,
            prompt.text,
            answer,
            functools.partial(self._media, task, index),
            task,
            index,
            generation,
            choices,
            turns=prompt.turns,
            cluster=self._clusters[task.id(index)],
        )

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
        groups: dict[str, int] = {name: len(members) for name, members in self._groups(split).items()}
        return SplitInfo(groups, digest.hexdigest()[:32], chance)

    def media_digest(self, split: Split) -> str:
        digest = hashlib.sha256()
        for task in self._tasks:
            for index in self._indices[split].get(task.name, []):
                digest.update("\0".join((task.id(index), *self._shared[task.name][index], "")).encode())
        return "sha256:" + digest.hexdigest()[:32]

    def untouched(self, policy: Policy, split: Split) -> dict[str, str]:
        if not policy.stages:
            return {}
        touched = set(policy.modalities)
        return {s.task: s.group for s in self.samples(split) if not touched & set(Group(s.group).modalities)}

    # --- inputs ---

    def _count_shapes(self, split: Split, group: Group) -> Counter[Request]:
        """Shapes of a group's requests: those of the inputs that will run."""
        if self.engine is not None:  # which prepares no inputs here
            return super()._count_shapes(split, group)
        shapes: Counter[Request] = Counter()
        for batch in self.prepared(UNCOMPRESSED, split, group, len(self._groups(split)[group])):
            shapes.update(self._costs.shapes(batch.inputs))
        return shapes

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


def _in_turn(tasks: Mapping[str, list[Sample]]) -> list[Sample]:
    """Samples of several tasks, one of each in turn, so that a limit takes some of all."""
    longest = max(map(len, tasks.values()))
    return [members[i] for i in range(longest) for members in tasks.values() if i < len(members)]


def _size(item: Any) -> int:
    return int(item.width * item.height * 3) if hasattr(item, "width") else int(item.nbytes)
