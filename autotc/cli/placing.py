"""Workers on a Ray cluster, kept by a process of its own: ``python -m autotc.cli.placing``.

Where a cluster's head is lost, Ray ends the process that stands in connection with it; a search goes on. What is asked
for comes as a line of JSON (a `Placement`), which may hold a password and stands in no command line; the answer is a
line, `PLACED` or what is wrong. A line `END`, or any other, or the end of the input, ends the workers.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from autotc.cli.options import STORAGE_VARIABLE
from autotc.errors import one_line, quote

PLACED, END = "placed", "end"
"""That workers are on their way; that the search has come to its end, and they do too."""
_RETRIES = 3
"""Times that Ray starts a worker again whose process ended."""
SECONDS = 60.0
"""That workers are given to come to their end."""


@dataclass(frozen=True)
class Placement:
    """What is asked for.

    Attributes:
        address: of the cluster; ``local`` for one of this machine alone, which ends with the process.
        words: the command of a worker.
        storage: that it is told of, by its environment.
        folder: where it works, on machines that have it.
        workers: how many.
        gpus: accelerators of each; None: one where the cluster has any.
    """

    address: str
    words: list[str]
    storage: str
    folder: str
    workers: int
    gpus: float | None


def main() -> None:
    """Place workers, and keep them until the input says otherwise."""
    import ray

    asked = Placement(**json.loads(sys.stdin.readline()))
    try:
        ray.init(address=asked.address, log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        print(f"{quote(asked.address)} cannot be used ({one_line(error, 120)})", flush=True)
        sys.exit(1)
    gpus = asked.gpus
    if gpus is None:
        gpus = 1.0 if dict(ray.cluster_resources()).get("GPU", 0) else 0.0  # type: ignore[no-untyped-call]
    work = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=_RETRIES)(_work)
    tasks = [work.remote(asked.words, asked.storage, asked.folder) for _ in range(asked.workers)]
    print(PLACED, flush=True)
    if sys.stdin.readline().strip() != END:
        for task in tasks:
            ray.cancel(task)  # as Ctrl-C: its trial is given back
    _, late = ray.wait(tasks, num_returns=len(tasks), timeout=SECONDS)
    for task in late:
        ray.cancel(task, force=True)
    ray.shutdown()


def _work(words: list[str], storage: str, folder: str) -> int:
    """Run a worker on a machine of the cluster; returns its exit code."""
    # A machine that does not have the search's folder works in its own.
    where = folder if Path(folder).is_dir() else None
    environment = {**os.environ, STORAGE_VARIABLE: storage}
    process = subprocess.Popen(words, cwd=where, env=environment, stdin=subprocess.DEVNULL)
    try:
        return process.wait()
    except BaseException:  # the task is cancelled
        process.terminate()
        process.wait(SECONDS)
        raise


if __name__ == "__main__":
    main()
