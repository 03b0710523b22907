"""Other workers of a search, started on a Ray cluster."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING

from autotc.cli.again import WORKING, options_again
from autotc.cli.placing import END, PLACED, SECONDS, Placement
from autotc.errors import DataError, missing_dependency

if TYPE_CHECKING:
    from autotc.search.storage import Study

LOCAL = "local"
"""In place of an address: a cluster of this machine alone, which ends with the search."""


@contextmanager
def workers_on_ray(args: argparse.Namespace, study: Study) -> Iterator[None]:
    """Have ``args.workers`` processes of a Ray cluster work on a study until the block is left.

    Each loads the model once, on ``args.gpus_per_worker`` accelerators of the cluster. Where the cluster is lost, the
    block goes on without them.

    Args:
        args: of ``autotc search``.
        study: to work on.

    Raises:
        DataError: the cluster cannot be reached, or the study is in a file that other machines cannot share.
        MissingDependencyError: Ray is not installed.
    """
    if find_spec("ray") is None:
        raise missing_dependency(ModuleNotFoundError(name="ray"))
    if args.ray != LOCAL and study.home.url.startswith("sqlite"):
        raise DataError("--ray: given with a study in an SQLite file; --storage postgresql://HOST/NAME is right")
    words = [sys.executable, "-m", "autotc", "worker", study.name, *shlex.split(options_again(args, WORKING))]
    asked = Placement(args.ray, words, study.home.url, os.getcwd(), args.workers, args.gpus_per_worker)
    log = study.folder / "workers" / "ray.log"
    with _opened(log) as file, _placing(file) as process:
        _tell(process, json.dumps(asdict(asked)))
        assert process.stdout is not None  # it is a pipe
        answer = process.stdout.readline().strip()
        if answer != PLACED:
            raise DataError(f"--ray: {answer or f'Ray ended as it began; see {log}'}")
        left, word = threading.Event(), "cancel"
        threading.Thread(target=_watch, args=(process, left, log), daemon=True).start()
        try:
            yield
            word = END
        finally:
            left.set()
            _tell(process, word)


def _opened(log: Path) -> IO[str]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return open(log, "a", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{log}: cannot be written ({error.strerror}); give another --runs") from error


@contextmanager
def _placing(log: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """The process that keeps the workers; it is waited for at the end of the block."""
    # A session of its own: Ctrl-C ends the search, which ends its workers in good order.
    process = subprocess.Popen(
        [sys.executable, "-m", "autotc.cli.placing"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None  # it is a pipe
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(2 * SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tell(process: subprocess.Popen[str], line: str) -> None:
    """Write a line to a process, unless it has ended."""
    assert process.stdin is not None  # it is a pipe
    with suppress(OSError, ValueError):
        print(line, file=process.stdin, flush=True)


def _watch(process: subprocess.Popen[str], left: threading.Event, log: Path) -> None:
    """Say when the process ends before the search has."""
    process.wait()
    if not left.is_set():
        print(f"autotc search: the Ray cluster is lost (see {log}); the search goes on without it", file=sys.stderr)
