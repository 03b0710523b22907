"""The evaluator of a model and some samples, whatever they are from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from autotc.errors import DataError
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.evaluate.engines import EngineOptions, connect
from autotc.evaluate.jsonl import JsonlEvaluator
from autotc.evaluate.lmms import require_lmms_eval
from autotc.evaluate.lmms.evaluator import LmmsEvaluator
from autotc.evaluate.lmms.loading import load_tasks
from autotc.evaluate.metrics import Metric, metric_of
from autotc.evaluate.model import ModelEvaluator
from autotc.evaluate.records import check_headers, load_records, split_records
from autotc.evaluate.towers import cache_of
from autotc.models.loading import load_model, load_shape, place
from autotc.models.settings import AS_STORED, Loading


class Samples(TypedDict, total=False):
    """Which samples an evaluator runs; all may be left out.

    Attributes:
        data: file of the user's own: JSON lines, a JSON list, CSV or Parquet.
        tasks: names of lmms-eval's tasks, groups or tags.
        task_folder: task files of the user's own, beside lmms-eval's.
        metric: with ``data`` a name of `autotc.evaluate.metrics.METRICS` (``exact`` without), ``module:function`` or a
            function of (said, right); with ``tasks`` one of theirs, without the first of each.
        limit: with ``tasks``, documents of each modality group and split that are read at all.
        seed: of the splits; without, 0.
        batch_size: samples of one forward.
    """

    data: str | Path | None
    tasks: Sequence[str] | None
    task_folder: str | Path | None
    metric: str | Metric | None
    limit: int | None
    seed: int
    batch_size: int | None


def evaluator(
    model: Any = None,
    processor: Any = None,
    *,
    loading: Loading = AS_STORED,
    engine: EngineOptions | str | None = None,
    tower_cache: str | Path | None = None,
    **samples: Unpack[Samples],
) -> ModelEvaluator:
    """Model and samples to run policies on: the embedded benchmark, data of the user's own, or tasks of lmms-eval.

    What is wrong with the samples is told before a model is loaded.

    Args:
        model: folder or hub name of a checkpoint, or a model that is loaded already; None takes the embedded model.
        processor: of a model that is loaded already.
        loading: how the checkpoint is loaded, or where a loaded or embedded model goes.
        engine: a serving engine that answers in place of transformers; ``vllm``, or `EngineOptions` with the address of
            a server or the engine's arguments. The checkpoint's configuration and processor are read, not its weights.
        tower_cache: folder in which all processes of this machine keep what the uncompressed model's towers make of the
            samples, or ``off`` to keep it in this process alone; None takes the environment's ``AUTOTC_TOWER_CACHE``,
            or ``autotc/towers`` in the user's cache folder. Results are the same, bit by bit.
        samples: see `Samples`; without any, the embedded benchmark's.

    Raises:
        DataError: samples, metric, checkpoint or options are wrong, or do not go together.
        UnsupportedModelError: no adapter knows the model.
        MissingDependencyError: something that is not installed is needed.

    Example:
        >>> ours = autotc.evaluator("Qwen/Qwen2.5-VL-3B-Instruct", data="ours.jsonl")  # doctest: +SKIP
        >>> autotc.evaluate("none", ours).accuracy  # doctest: +SKIP
    """
    unknown = set(samples) - set(Samples.__annotations__)
    if unknown:
        raise TypeError(
            f"evaluator() has no argument {sorted(unknown)[0]!r}; it has {', '.join(Samples.__annotations__)}"
        )
    data, tasks = samples.get("data"), samples.get("tasks")
    if data is not None and tasks is not None:
        raise DataError("--tasks: given with --data; one of the two is right")
    if samples.get("task_folder") is not None and tasks is None:
        raise DataError("--task-folder: given without --tasks; name tasks of the folder")
    options = EngineOptions(engine) if isinstance(engine, str) else engine
    if options is not None and not isinstance(model, str | Path):
        raise DataError(
            f"--engine {options.name}: needs --model, the folder or hub name of a checkpoint that the engine loads"
        )
    cache = cache_of(tower_cache)
    source = _Model(model, processor, loading, weights=options is None)
    made = _made(source, samples)
    made.towers.cache = cache
    if options is not None:
        made.serve_with(connect(options, str(model), made.processor, loading))
    return made


def _made(source: _Model, samples: Samples) -> ModelEvaluator:
    """The evaluator of the samples."""
    data, tasks = samples.get("data"), samples.get("tasks")
    if tasks is not None:
        return _on_tasks(source, tasks, samples)
    if data is not None:
        return _on_data(source, data, samples)
    return _on_benchmark(source, samples)


class _Model:
    """A model that is loaded when it is needed."""

    def __init__(self, model: Any, processor: Any, loading: Loading, *, weights: bool = True) -> None:
        if (model is None or isinstance(model, str | Path)) != (processor is None):
            raise DataError("processor: a loaded model comes with its processor, a name or a folder without one")
        self._model, self._processor, self._loading, self._weights = model, processor, loading, weights

    def load(self) -> tuple[Any, Any]:
        if not self._weights:
            return load_shape(str(self._model), self._loading)
        if self._processor is None:
            return load_model(None if self._model is None else str(self._model), self._loading)
        model = self._model if self._loading == AS_STORED else place(self._model, self._loading)
        return model, self._processor


def _shared(samples: Samples) -> dict[str, Any]:
    """Arguments that every evaluator takes, as far as they are given."""
    batch_size = samples.get("batch_size")
    return {"seed": samples.get("seed", 0), **({} if batch_size is None else {"batch_size": batch_size})}


def _on_benchmark(source: _Model, samples: Samples) -> ModelEvaluator:
    if samples.get("metric") is not None:
        raise DataError(
            f"--metric: {samples['metric']!r} given without --data or --tasks; the embedded benchmark has its own"
        )
    return BuiltinEvaluator(*source.load(), **_shared(samples))


def _on_data(source: _Model, data: str | Path, samples: Samples) -> ModelEvaluator:
    metric = samples.get("metric") or "exact"
    score = metric_of(metric)
    records = load_records(data, score)
    split_records(records, samples.get("seed", 0))
    check_headers(data, records)
    return JsonlEvaluator(data, *source.load(), metric=score, **_shared(samples))


def _on_tasks(source: _Model, tasks: Sequence[str], samples: Samples) -> LmmsEvaluator:
    require_lmms_eval()
    metric = samples.get("metric")
    if metric is not None and not isinstance(metric, str):
        raise DataError("metric: a function given with tasks, which score by metrics of their own; name one of theirs")
    start = time.perf_counter()
    loaded = load_tasks(tasks, samples.get("task_folder"))
    tasks_done = time.perf_counter()
    model, processor = source.load()
    model_done = time.perf_counter()
    made = LmmsEvaluator(loaded, model, processor, metric=metric, limit=samples.get("limit"), **_shared(samples))
    made.phases.add("tasks", tasks_done - start)
    made.phases.add("model loading", model_done - tasks_done)
    return made
