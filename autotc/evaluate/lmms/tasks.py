"""One task of lmms-eval: what it asks, and what its answers are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from autotc.errors import AutotcError, DataError
from autotc.evaluate.lmms.generation import CHOOSE, first_line
from autotc.evaluate.lmms.prompts import Prompt, chat_prompt, simple_prompt
from autotc.evaluate.lmms.scores import DocumentScores
from autotc.evaluate.media import Reading

REFUSED_KINDS = {
    "generate_until_multi_round": "asks in several rounds, each of which depends on the last answer",
    "generate_until_agentic": "asks in several rounds, each of which depends on the last answer",
    "generate_visual_cot": "asks the model to draw",
    "loglikelihood": "scores one continuation, which lmms-eval 0.7 cannot aggregate",
}
"""Output types that are refused, and why."""


class LmmsTask:
    """One task of lmms-eval.

    Args:
        task: lmms-eval's object.

    Raises:
        DataError: it asks for something that cannot be evaluated sample by sample.
    """

    def __init__(self, task: Any) -> None:
        self.task = task
        self.name = str(task.config.task)
        self.kind = str(task.OUTPUT_TYPE)
        if self.kind in REFUSED_KINDS:
            raise DataError(
                f"--tasks: {self.name} {REFUSED_KINDS[self.kind]}; take a task of generate_until or multiple_choice"
            )
        if self.kind == CHOOSE and (task.multiple_input or "acc_mutual_info" in task._metric_fn_list):
            raise DataError(f"--tasks: {self.name} scores several prompts for one answer; take another task")
        if task.config.auto_strip_thinking and not task.config.reasoning_tags:
            from lmms_eval.filters.transformation import StripThinkingFilter

            for ensemble in task._filters:
                ensemble.filters.insert(0, StripThinkingFilter())
        self._texts = task.eval_docs_no_media
        self._docs = task.eval_docs
        self._scores = DocumentScores(self)

    def __len__(self) -> int:
        return len(self._docs)

    def id(self, index: int) -> str:
        """Of a document."""
        return f"{self.name}/{index}"

    @cached_property
    def metrics(self) -> list[str]:
        """Names of its metrics, as its YAML lists them."""
        return [str(name) for name in self.task.aggregation()]

    def document(self, index: int) -> Any:
        """A document without its media."""
        return self._texts[index]

    # --- what it asks ---

    def texts(self) -> Iterator[tuple[str, str]]:
        """Question and right answer of each document, without media."""
        for index in range(len(self)):
            doc = self._texts[index]
            question = "" if self.task.config.doc_to_text is None else self._call("doc_to_text", doc, index)
            yield str(question), self._target(doc, index)

    def target(self, index: int) -> str:
        """The right answer; empty where the task names none."""
        return self._target(self._texts[index], index)

    def _target(self, doc: Any, index: int) -> str:
        if self.task.config.doc_to_target is None:
            return ""
        target = self._call("doc_to_target", doc, index)
        if self.task.config.doc_to_choice is not None and isinstance(target, int):
            return str(self.choices(index)[target])
        if isinstance(target, (list, tuple)):
            target = target[0] if target else ""
        return "" if target is None else str(target).strip()

    def choices(self, index: int) -> list[str]:
        """Answers of a multiple choice."""
        return [str(choice) for choice in self._call("doc_to_choice", self._texts[index], index)]

    def prompt(self, index: int, reading: Reading) -> Prompt:
        """What a document asks, with its media.

        Raises:
            DataError: the task's own code or a medium fails.
        """
        doc = self._docs[index]
        try:
            if self.kind == CHOOSE:
                shots = self.task.config.num_fewshot or 0
                text = self._call("fewshot_context", self._texts[index], index, shots)
                return simple_prompt(str(text), self._call("doc_to_visual", doc, index), reading)
            return chat_prompt(self._call("doc_to_messages", doc, index), reading)
        except DataError as error:
            raise DataError(f"{self.id(index)}: {error}") from error

    def shares(self) -> list[tuple[str, ...]]:
        """Hashes of each document's media; documents with a hash in common belong into one split."""
        import datasets

        kinds = tuple(getattr(datasets, name) for name in ("Image", "Audio", "Video") if hasattr(datasets, name))
        table, columns = self._docs, []
        for name, feature in getattr(table, "features", {}).items():
            inner = getattr(feature, "feature", None)
            if isinstance(feature, kinds):
                table = table.cast_column(name, type(feature)(decode=False))
            elif isinstance(inner, kinds):
                table = table.cast_column(name, type(feature)(type(inner)(decode=False)))
            else:
                continue
            columns.append(name)
        if columns:
            return [tuple(_hashes(row.values())) for row in table.select_columns(columns)]
        first = self._call("doc_to_visual", self._docs[0], 0) or []
        if all(isinstance(medium, str) for medium in first):
            visuals = (self._call("doc_to_visual", self._docs[i], i) or [] for i in range(len(self)))
            return [tuple(str(medium) for medium in media) for media in visuals]
        return [()] * len(self)

    def cluster(self, index: int) -> str:
        """Name of what a document has in common with others, as the task's ``cluster_key`` says; empty without one.

        lmms-eval reads the key in what ``process_results`` returns, which is copied from a field of that name.
        """
        key = getattr(self.task.config, "cluster_key", None)
        value = self._texts[index].get(key) if key is not None else None
        return "" if value is None else f"{self.name}/{value}"

    def score(self, index: int, said: Any, metric: str | None = None) -> float:
        """Score in [0, 1] of one document; see `DocumentScores.score`."""
        return self._scores.score(index, said, metric)

    def _call(self, name: str, doc: Any, index: int, *more: Any) -> Any:
        try:
            return getattr(self.task, name)(doc, *more)
        except AutotcError:
            raise
        except (Exception, SystemExit) as error:
            raise DataError(f"{self.id(index)}: the task's {name} fails ({first_line(error)})") from error


def _hashes(values: Any) -> Iterator[str]:
    """Of what media columns hold undecoded: bytes and path, in lists where there are several."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _hashes(value)
        elif isinstance(value, Mapping):
            data = value.get("bytes") or str(value.get("path")).encode()
            yield hashlib.blake2b(data, digest_size=16).hexdigest()
