"""Workers in processes of their own, on the evaluator that computes its accuracies from a formula."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Collection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from autotc.policy import Policy
from autotc.progress import Progress
from autotc.results import Results
from autotc.search.home import Home
from autotc.search.session import search, worker
from autotc.search.storage import list_studies
from autotc.vocabulary import Split

from .synthetic import SyntheticEvaluator

SPACE = """
version: 1
modalities:
  image: {choices: &choices [
    {mechanism: divprune, location: projector, keep_ratio: [0.1, 0.9]},
    {mechanism: tome, location: projector, keep_ratio: [0.1, 0.9]},
    {mechanism: random, location: projector, keep_ratio: [0.1, 0.9]}], presets: []}
  audio: {choices: *choices, presets: []}
"""
STUDY = "m-b0.5-s0"


class Logged(SyntheticEvaluator):
    """Writes down what runs, a line each time, and takes a while for it.

    Args:
        log: file that all workers append to.
        seconds: of each run.
    """

    def __init__(self, log: Path, seconds: float = 0.0) -> None:
        super().__init__(samples=40)
        self._log, self._seconds = log, seconds

    def run(
        self,
        policy: Policy,
        split: Split,
        *,
        limit: int | None = None,
        groups: Collection[str] | None = None,
        progress: Progress | None = None,
    ) -> Results:
        results = super().run(policy, split, limit=limit, groups=groups, progress=progress)
        time.sleep(self._seconds)
        with open(self._log, "a", encoding="utf-8") as file:
            for group in groups or ("all",):
                part = Policy(
                    stages=tuple(stage for stage in policy.stages if stage.modality in group or group == "all")
                )
                file.write(f"{os.getpid()}@{time.time():.3f} {split} {group} {limit} {part.content_hash()}\n")
        return results


def options(root: Path) -> dict[str, Any]:
    """Of a search whose study is `STUDY`."""
    space = root / "space.yaml"
    space.write_text(SPACE)
    places = {"runs": root / "runs", "out_dir": root / "policies"}
    return {"budget": 0.5, "name": "m", "space": space, "track": False, "sampler": "random", **places}


def lead(root: Path, trials: int, seconds: float = 0.0, more: dict[str, Any] | None = None) -> None:
    """Search."""
    search(Logged(root / "log", seconds), **{**options(root), "trials": trials, "workers": 2, **(more or {})})


def help_(root: Path, seconds: float = 0.0, more: dict[str, Any] | None = None) -> None:
    """Work on the study as soon as it is there."""
    while not (root / "runs" / STUDY / "uncompressed.samples.parquet").exists():
        time.sleep(0.05)
    worker(STUDY, Logged(root / "log", seconds), runs=root / "runs", **(more or {}))


def start(target: Any, *args: Any) -> BaseProcess:
    """Run a function in a new process."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=args)
    process.start()
    return process


def lines(root: Path) -> list[str]:
    """What ran, without the process that ran it and the time of its end."""
    return [line.partition(" ")[2] for line in (root / "log").read_text().splitlines()]


def again(root: Path, trials: int, seconds: float = 0.0) -> None:
    """Go on with the search, or begin it anew where it ended before its study was made."""
    if STUDY not in list_studies(Home.of(root / "runs")):
        lead(root, trials, seconds)
        return
    more = {"space": None, "sampler": "random", "trials": trials, "workers": 2, "study_name": STUDY, "resume": True}
    search(Logged(root / "log", seconds), **{**options(root), **more})
