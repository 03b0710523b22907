"""Other workers of a search, started on this machine."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from autotc.cli.again import WORKING, options_again
from autotc.cli.options import STORAGE_VARIABLE
from autotc.errors import DataError

if TYPE_CHECKING:
    from autotc.search.storage import Study

_SECONDS = 60.0
"""That a worker is given to come to its end: it loads a model, or ends the operation that runs."""


@contextmanager
def workers_beside(args: argparse.Namespace, study: Study) -> Iterator[None]:
    """Have ``args.workers - 1`` other processes work on a study until the block is left.

    Each loads the model once, and writes what it says to ``STUDY/workers/N.log``. Where there are several accelerators
    each gets one, in turn; processors are shared out evenly.

    Args:
        args: of ``autotc search``.
        study: to work on.

    Raises:
        DataError: a log cannot be written.
    """
    logs = study.folder / "workers"
    words = [sys.executable, "-m", "autotc", "worker", study.name, *shlex.split(options_again(args, WORKING))]
    with ExitStack() as stack:
        started = []
        for number in range(1, args.workers):
            try:
                logs.mkdir(parents=True, exist_ok=True)
                log = stack.enter_context(open(logs / f"{number}.log", "a", encoding="utf-8"))
            except OSError as error:
                raise DataError(f"{logs}: cannot be written ({error.strerror}); give another --runs") from error
            # A session of its own: Ctrl-C ends the search, which ends its workers in good order.
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **_environment(args.workers, number), STORAGE_VARIABLE: study.home.url},
                start_new_session=True,
            )
            started.append(process)
        try:
            yield
        except BaseException:
            for process in started:
                process.terminate()
            raise
        finally:
            for process in started:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a worker; ask it to end where it does not, and end it where it does not listen."""
    for ask in (process.terminate, process.kill):
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            ask()
    process.wait()


def _environment(workers: int, number: int) -> dict[str, str]:
    """What one of several workers on a machine is told of its share of it."""
    share = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // workers))}
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = named.split(",") if named else [str(i) for i in range(_accelerators())]
    return {**share, "CUDA_VISIBLE_DEVICES": devices[number % len(devices)]} if len(devices) > 1 else share


def _accelerators() -> int:
    """CUDA devices of this machine; torch has been loaded by the search."""
    torch = sys.modules.get("torch")
    return 0 if torch is None else int(torch.cuda.device_count())
