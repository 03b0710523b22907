"""lmms-eval's tasks by name: finding them, loading their data, and telling why that fails."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from autotc.errors import DataError
from autotc.evaluate.lmms import EMBEDDED, require_lmms_eval
from autotc.evaluate.lmms.generation import CHOOSE, first_line
from autotc.evaluate.lmms.tasks import LmmsTask
from autotc.names import near_names


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
            raise DataError(f"{where}: task files cannot be read ({first_line(error)})") from error
    for name in names:
        if name not in manager.all_tasks:
            near = near_names(name, manager.all_tasks, 4)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "python -m lmms_eval tasks lists them"
            raise DataError(f"--tasks: {name!r} is not a task of the installed lmms-eval; {hint}")
    loaded: dict[str, LmmsTask] = {}
    for name in names:
        for task in _load(name, manager):
            loaded[task.name] = task
    return [loaded[name] for name in sorted(loaded)]


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


def _cause(error: BaseException) -> str:
    """What went wrong with a data set, and what to do."""
    names: set[str] = set()
    at: BaseException | None = error
    while at is not None:
        names |= {cls.__name__ for cls in type(at).__mro__}
        at = at.__cause__ or at.__context__
    text = first_line(error)
    if names & {"GatedRepoError", "LocalTokenNotFoundError"} or "gated" in text:
        return f"{text}; ask for access on its page and log in with `hf auth login`"
    offline = {"ConnectionError", "OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectError", "gaierror"}
    if names & (offline | {"MaxRetryError", "NetworkError", "TransportError", "ProxyError"}):
        return f"{text}; the hub cannot be reached: go online, or copy its data set into {_datasets_cache()}"
    return text


def _datasets_cache() -> str:
    return os.environ.get("HF_DATASETS_CACHE", "~/.cache/huggingface/datasets")
