"""lmms-eval's tasks: loading them, what they ask, and a score for each document."""

from __future__ import annotations

import difflib
import hashlib
import io
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from autotc.errors import AutotcError, DataError
from autotc.evaluate.lmms import EMBEDDED, require_lmms_eval
from autotc.evaluate.lmms.prompts import Prompt, chat_prompt, simple_prompt
from autotc.evaluate.media import Reading

GENERATE = "generate_until"
CHOOSE = "multiple_choice"
ASKED = {
    "generate_until_multi_round": "asks in several rounds, each of which depends on the last answer",
    "generate_until_agentic": "asks in several rounds, each of which depends on the last answer",
    "generate_visual_cot": "asks the model to draw",
    "loglikelihood": "scores one continuation, which lmms-eval 0.7 cannot aggregate",
}
"""Output types that are refused, and why."""
_PROBES = 8
"""Documents whose right answers tell the scale of a task's metric."""


@contextmanager
def _plainly() -> Iterator[None]:
    """Loading without retries that hide the cause for minutes, and without remarks."""
    import datasets
    from lmms_eval.api.task import ConfigurableTask
    from loguru import logger

    download = ConfigurableTask.download
    ConfigurableTask.download = getattr(download, "__wrapped__", download)
    logger.disable("lmms_eval")
    logging.getLogger("datasets").setLevel(logging.ERROR)
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        ConfigurableTask.download = download
        logger.enable("lmms_eval")
        if shown:
            datasets.enable_progress_bars()


def load_tasks(names: Sequence[str], folder: str | Path | None = None) -> list[LmmsTask]:
    """Tasks by name, groups and tags taken apart, in order of their names.

    Args:
        names: of tasks, groups or tags: lmms-eval's, the embedded ones (``tiny_omni``), or of ``folder``.
        folder: of YAML files of the user's own.

    Raises:
        DataError: a name is unknown, a task cannot be evaluated here, or its data set cannot be loaded.
        MissingDependencyError: lmms-eval is missing or of a version that does not fit.
    """
    require_lmms_eval()
    if folder is not None and not Path(folder).is_dir():
        raise DataError(
            f"--task-folder: {folder}: no such folder; a folder of lmms-eval task files (.yaml) is expected"
        )
    if not names:
        raise DataError("--tasks: none given; names of lmms-eval tasks by commas are expected, e.g. tiny_omni or mme")
    from lmms_eval.tasks import TaskManager

    own = [str(EMBEDDED), *([str(folder)] if folder is not None else [])]
    with _plainly():
        try:
            manager = TaskManager("ERROR", include_path=own, include_defaults=False)
            if any(name not in manager.all_tasks for name in names):
                manager = TaskManager("ERROR", include_path=own)  # reads a thousand files
        except Exception as error:
            where = "--tasks" if folder is None else f"--task-folder: {folder}"
            raise DataError(f"{where}: task files cannot be read ({_first(error)})") from error
    for name in names:
        if name not in manager.all_tasks:
            near = difflib.get_close_matches(name, manager.all_tasks, n=4, cutoff=0.5)
            hint = f"near: {', '.join(near)}" if near else "python -m lmms_eval tasks lists them"
            raise DataError(f"--tasks: {name!r} is not a task of the installed lmms-eval; {hint}")
    found: dict[str, LmmsTask] = {}
    for name in names:
        for task in _load(name, manager):
            found[task.name] = task
    return [found[name] for name in sorted(found)]


def _load(name: str, manager: Any) -> Iterator[LmmsTask]:
    """The tasks under one name."""
    from lmms_eval.tasks import get_task_dict

    kind = manager.task_index[name]["type"]
    with _plainly():
        try:
            config = manager._get_config(name) if kind == "task" else {}
            form = "simple" if config.get("output_type") in (CHOOSE, "loglikelihood") else "chat"
            loaded = get_task_dict([name], manager, form)
        except SystemExit as error:
            raise DataError(f"--tasks: {name}: {error}") from error
        except Exception as error:
            raise DataError(f"--tasks: {name} cannot be loaded: {_cause(error)}") from error
    for task in _leaves(loaded):
        if task.OUTPUT_TYPE == CHOOSE and form == "chat":  # a member of a group
            yield from _load(task.config.task, manager)
        else:
            yield LmmsTask(task)


def _leaves(loaded: Mapping[Any, Any]) -> Iterator[Any]:
    for value in loaded.values():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield value


def _first(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _cause(error: BaseException) -> str:
    """What went wrong with a data set, and what to do."""
    names: set[str] = set()
    at: BaseException | None = error
    while at is not None:
        names |= {cls.__name__ for cls in type(at).__mro__}
        at = at.__cause__ or at.__context__
    text = _first(error)
    if names & {"GatedRepoError", "LocalTokenNotFoundError"} or "gated" in text:
        return f"{text}; ask for access on its page and log in with `hf auth login`"
    offline = {"ConnectionError", "OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectError", "gaierror"}
    if names & (offline | {"MaxRetryError", "NetworkError", "TransportError", "ProxyError"}):
        return f"{text}; the hub cannot be reached: go online, or copy its data set into {_datasets_cache()}"
    return text


def _datasets_cache() -> str:
    return os.environ.get("HF_DATASETS_CACHE", "~/.cache/huggingface/datasets")


@dataclass(frozen=True)
class Generation:
    """How a task wants answers generated; equal ones share a batch.

    Attributes:
        new_tokens: most tokens of an answer.
        beams: of beam search.
        until: texts at which an answer ends; a blank line is not one, as in lmms-eval's own models.
    """

    new_tokens: int
    beams: int
    until: tuple[str, ...]

    @classmethod
    def of(cls, arguments: Mapping[str, Any] | None, default: int) -> Generation:
        """From a task's ``generation_kwargs``."""
        given = dict(arguments or {})
        until = given.get("until") or ()
        stops = (until,) if isinstance(until, str) else tuple(until)
        return cls(
            int(given.get("max_new_tokens") or default),
            int(given.get("num_beams") or 1),
            tuple(stop for stop in stops if stop and stop != "\n\n"),
        )

    def cut(self, text: str) -> str:
        """The answer up to the first text that ends it."""
        for stop in self.until:
            text = text.split(stop)[0]
        return text.strip()


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
        if self.kind in ASKED:
            raise DataError(
                f"--tasks: {self.name} {ASKED[self.kind]}; take a task of generate_until or multiple_choice"
            )
        if self.kind == CHOOSE and (task.multiple_input or "acc_mutual_info" in task._metric_fn_list):
            raise DataError(f"--tasks: {self.name} scores several prompts for one answer; take another task")
        if task.config.auto_strip_thinking and not task.config.reasoning_tags:
            from lmms_eval.filters.transformation import StripThinkingFilter

            for ensemble in task._filters:
                ensemble.filters.insert(0, StripThinkingFilter())
        self._texts = task.eval_docs_no_media
        self._docs = task.eval_docs

    def __len__(self) -> int:
        return len(self._docs)

    def id(self, index: int) -> str:
        """Of a document."""
        return f"{self.name}/{index}"

    @cached_property
    def metrics(self) -> list[str]:
        """Names of its metrics, as its YAML lists them."""
        return [str(name) for name in self.task.aggregation()]

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

    # --- how it scores ---

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
        found = self._process(index, said)
        name = metric if metric is not None else next((m for m in self.metrics if found.get(m) is not None), None)
        if name is None or found.get(name) is None:
            names = ", ".join(map(str, found)) or "nothing"
            raise DataError(f"{self.id(index)}: no value for {name or 'any metric'}; the task gave {names}")
        value = _number(found[name], str(self.task.config.score_key))
        if value is None:
            value = self._alone(index, name, found[name])
        better = bool(self.task.higher_is_better().get(name, True))
        if not better:
            value = max(0.0, 1.0 - value)
        if not 0 <= value <= 1:
            raise DataError(
                f"{self.id(index)}: metric {name} is {value:g}; a score in [0, 1] is needed, choose one with"
                f" --metric of {', '.join(self.metrics)}"
            )
        return value

    def _process(self, index: int, said: Any) -> Mapping[str, Any]:
        from lmms_eval.api.instance import Instance
        from lmms_eval.api.reasoning import parse_reasoning_tags_config, strip_reasoning_tags

        task = self.task
        metadata = {"task": self.name, "doc_id": index, "repeats": 1}
        responses = said if self.kind == CHOOSE else [said]
        instances = [
            Instance("generate_until" if self.kind == GENERATE else "loglikelihood", (), i, metadata, [response])
            for i, response in enumerate(responses)
        ]
        ensemble = task._filters[0]
        tags = parse_reasoning_tags_config(cli_value=None, task_value=getattr(task.config, "reasoning_tags", None))
        if tags is not None and self.kind == GENERATE:
            instances[0].resps = [strip_reasoning_tags(said, tags)]
        process = type(task).process_results
        # The task's own method tries again for eight seconds whatever fails.
        process = getattr(process, "__wrapped__", process)
        try:
            ensemble.apply(instances, task.task_docs)
            answers = [instance.filtered_resps[ensemble.name] for instance in instances]
            found: Mapping[str, Any] = process(task, self._texts[index], answers)
        except Exception as error:
            raise DataError(f"{self.id(index)}: the task cannot score {said!r} ({_first(error)})") from error
        return found

    def _alone(self, index: int, name: str, entry: Any) -> float:
        value = self._aggregate(name, entry)
        if value is None:
            raise DataError(
                f"--tasks: {self.name}: metric {name} gives no number for one document ({type(entry).__name__}); choose"
                f" one with --metric of {', '.join(self.metrics)}, or take another task"
            )
        return value / self._scale(name)

    def _aggregate(self, name: str, entry: Any) -> float | None:
        import inspect

        aggregate = self.task.aggregation()[name]
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
            for index in range(min(_PROBES, len(self))):
                with_target = self._process(index, self.target(index)).get(name)
                best = max(best, self._aggregate(name, with_target) or 0.0)
            self._scales[name] = 100.0 if best > 1 else 1.0
        return self._scales[name]

    @cached_property
    def _scales(self) -> dict[str, float]:
        return {}

    def _call(self, name: str, doc: Any, index: int, *more: Any) -> Any:
        try:
            return getattr(self.task, name)(doc, *more)
        except AutotcError:
            raise
        except (Exception, SystemExit) as error:
            raise DataError(f"{self.id(index)}: the task's {name} fails ({_first(error)})") from error


def _number(value: Any, key: str) -> float | None:
    """A number, or a dict's entry that is one; None for anything else."""
    if isinstance(value, Mapping):
        value = next((value[k] for k in (key, "score") if k in value), None)
    try:
        out = float(value)
    except (TypeError, ValueError):
        return None
    return out if math.isfinite(out) and not isinstance(value, str) else None


def _hashes(values: Any) -> Iterator[str]:
    """Of what media columns hold undecoded: bytes and path, in lists where there are several."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _hashes(value)
        elif isinstance(value, Mapping):
            data = value.get("bytes") or str(value.get("path")).encode()
            yield hashlib.blake2b(data, digest_size=16).hexdigest()
