"""Other workers of a search, started on a Ray cluster."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from autotc.cli.again import WORKING, options_again
from autotc.cli.options import STORAGE_VARIABLE
from autotc.errors import DataError, missing_dependency, one_line, quote

if TYPE_CHECKING:
    from autotc.search.storage import Study

LOCAL = "local"
"""In place of an address: a cluster of this machine alone, which ends with the search."""
_RETRIES = 3
"""Times that Ray starts a worker again whose process ended."""
_SECONDS = 60.0
"""That workers are given to come to their end."""


@contextmanager
def workers_on_ray(args: argparse.Namespace, study: Study) -> Iterator[None]:
    """Have ``args.workers`` processes of a Ray cluster work on a study until the block is left.

    Each loads the model once, on ``args.gpus_per_worker`` accelerators of the cluster.

    Args:
        args: of ``autotc search``.
        study: to work on.

    Raises:
        DataError: the cluster cannot be reached, or the study is in a file that other machines cannot share.
        MissingDependencyError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise missing_dependency(error) from error
    if args.ray != LOCAL and study.home.url.startswith("sqlite"):
        raise DataError("--ray: given with a study in an SQLite file; --storage postgresql://HOST/NAME is right")
    words = [sys.executable, "-m", "autotc", "worker", study.name, *shlex.split(options_again(args, WORKING))]
    try:
        ray.init(address=args.ray, log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise DataError(f"--ray: {quote(args.ray)} cannot be used ({one_line(error, 120)})") from error
    try:
        gpus = args.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if dict(ray.cluster_resources()).get("GPU", 0) else 0.0  # type: ignore[no-untyped-call]
        work = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=_RETRIES)(_work)
        tasks = [work.remote(words, study.home.url, os.getcwd()) for _ in range(args.workers)]
        try:
            yield
        except BaseException:
            for task in tasks:
                ray.cancel(task)  # as Ctrl-C: its trial is given back
            raise
        finally:
            _, late = ray.wait(tasks, num_returns=len(tasks), timeout=_SECONDS)
            for task in late:
                ray.cancel(task, force=True)
    finally:
        ray.shutdown()


def _work(words: list[str], storage: str, folder: str) -> int:
    """Run a worker on a machine of the cluster; returns its exit code."""
    # A machine that does not have the search's folder works in its own.
    where = folder if Path(folder).is_dir() else None
    process = subprocess.Popen(
        words, cwd=where, env={**os.environ, STORAGE_VARIABLE: storage}, stdin=subprocess.DEVNULL
    )
    try:
        return process.wait()
    except BaseException:  # the task is cancelled
        process.terminate()
        process.wait(_SECONDS)
        raise
