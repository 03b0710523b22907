"""Scores of single documents by a task's own metrics."""

from __future__ import annotations

import inspect
import io
import math
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from autotc.errors import DataError
from autotc.evaluate.lmms.generation import CHOOSE, GENERATE, first_line

if TYPE_CHECKING:
    from autotc.evaluate.lmms.tasks import LmmsTask

_PROBES = 8
"""Documents whose right answers tell the scale of a task's metric."""


class DocumentScores:
    """Scores a task's documents one by one.

    Args:
        task: whose documents they are.
    """

    def __init__(self, task: LmmsTask) -> None:
        self._task = task
        self._scales: dict[str, float] = {}

    def score(self, index: int, said: Any, metric: str | None = None) -> float:
        """Score in [0, 1] of one document, higher is better.

        It is the number that ``process_results`` gives the metric; of a dict the entry ``score``; of anything else what
        the task's own aggregation makes of this document alone, over 100 where it counts in percent. Where lower is
        better, 1 minus that, at least 0.

        Args:
            index: of the document.
            said: the answer, or for a multiple choice (mean negative log-likelihood, greedy) of each.
            metric: None for the first that the document has.

        Raises:
            DataError: the task's own code fails, or no number comes of it.
        """
        values = self._process(index, said)
        name = (
            metric if metric is not None else next((m for m in self._task.metrics if values.get(m) is not None), None)
        )
        if name is None or values.get(name) is None:
            names = ", ".join(map(str, values)) or "nothing"
            raise DataError(f"{self._task.id(index)}: no value for {name or 'any metric'}; the task gave {names}")
        value = _number(values[name], str(self._task.task.config.score_key))
        if value is None:
            value = self._alone(index, name, values[name])
        better = bool(self._task.task.higher_is_better().get(name, True))
        if not better:
            value = max(0.0, 1.0 - value)
        if not 0 <= value <= 1:
            raise DataError(
                f"{self._task.id(index)}: metric {name} is {value:g}; a score in [0, 1] is needed, choose one with"
                f" --metric of {', '.join(self._task.metrics)}"
            )
        return value

    def _process(self, index: int, said: Any) -> Mapping[str, Any]:
        from lmms_eval.api.instance import Instance
        from lmms_eval.api.reasoning import parse_reasoning_tags_config, strip_reasoning_tags

        task = self._task.task
        metadata = {"task": self._task.name, "doc_id": index, "repeats": 1}
        responses = said if self._task.kind == CHOOSE else [said]
        instances = [
            Instance("generate_until" if self._task.kind == GENERATE else "loglikelihood", (), i, metadata, [response])
            for i, response in enumerate(responses)
        ]
        ensemble = task._filters[0]
        tags = parse_reasoning_tags_config(cli_value=None, task_value=getattr(task.config, "reasoning_tags", None))
        if tags is not None and self._task.kind == GENERATE:
            instances[0].resps = [strip_reasoning_tags(said, tags)]
        process = type(task).process_results
        # The task's own method tries again for eight seconds whatever fails.
        process = getattr(process, "__wrapped__", process)
        try:
            ensemble.apply(instances, task.task_docs)
            answers = [instance.filtered_resps[ensemble.name] for instance in instances]
            values: Mapping[str, Any] = process(task, self._task.document(index), answers)
        except Exception as error:
            raise DataError(f"{self._task.id(index)}: the task cannot score {said!r} ({first_line(error)})") from error
        return values

    def _alone(self, index: int, name: str, entry: Any) -> float:
        value = self._aggregate(name, entry)
        if value is None:
            raise DataError(
                f"--tasks: {self._task.name}: metric {name} gives no number for one document ({type(entry).__name__});"
                f" choose one with --metric of {', '.join(self._task.metrics)}, or take another task"
            )
        return value / self._scale(name)

    def _aggregate(self, name: str, entry: Any) -> float | None:
        aggregate = self._task.task.aggregation()[name]
        extra = {"args": None} if "args" in inspect.signature(aggregate).parameters else {}
        try:
            with redirect_stdout(io.StringIO()):
                return _number(aggregate([entry], **extra), "")
        except Exception:  # the task's own code, which expects all documents
            return None

    def _scale(self, name: str) -> float:
        """100 where the aggregation makes more than 1 of a right answer."""
        if name not in self._scales:
            best = 0.0
            for index in range(min(_PROBES, len(self._task))):
                with_target = self._process(index, self._task.target(index)).get(name)
                best = max(best, self._aggregate(name, with_target) or 0.0)
            self._scales[name] = 100.0 if best > 1 else 1.0
        return self._scales[name]


def _number(value: Any, key: str) -> float | None:
    """A number, or a dict's entry that is one; None for anything else."""
    if isinstance(value, Mapping):
        value = next((value[k] for k in (key, "score") if k in value), None)
    try:
        out = float(value)
    except (TypeError, ValueError):
        return None
    return out if math.isfinite(out) and not isinstance(value, str) else None
