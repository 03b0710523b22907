"""A study of many trials: how long it takes to resume it, to show its front and to report it; for `workers.py`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from autotc.policy import UNCOMPRESSED
from autotc.resources import search_space
from autotc.search.engine import Conduct, Engine
from autotc.search.home import Home
from autotc.search.opening import open_study
from autotc.search.outcome import Raced, Ran, Refused
from autotc.search.problem import pose
from autotc.search.progress import SearchProgress
from autotc.search.records import stored_trial, trial_state
from autotc.search.searcher import Searcher
from autotc.search.session import search
from autotc.search.settings import SearchSettings
from autotc.search.storage import load_front, load_study
from autotc.search.strategies import build_strategy
from autotc.search.strategies.sampled import frozen_trial
from tests.search.synthetic import SyntheticEvaluator

STUDY = "m-b0.5-s0"


def evaluator() -> SyntheticEvaluator:
    """Of 400 samples, 100 of each modality group."""
    return SyntheticEvaluator(samples=100)


def options(root: Path) -> dict[str, Any]:
    """Of the search whose study is `STUDY`."""
    return {"budget": 0.5, "name": "m", "track": False, "runs": root / "runs", "out_dir": root / "policies"}


def build(root: Path, trials: int) -> None:
    """Store a study of so many trials that ran, drawn at random from the default space, beside those refused."""
    search(evaluator(), **options(root), space=search_space(), predict_conflicts=False, trials=1)
    study, ran = load_study(STUDY, Home.of(root / "runs")), evaluator()
    problem = pose(study.settings, ran)
    engine = Engine(ran, problem.space, problem.budget, problem.costs, Conduct(races=True))
    engine.start(ran.run(UNCOMPRESSED, "search"))
    strategy, kept = build_strategy("random", 5, lambda modality, keep: None), 1
    while kept < trials:
        proposal, before = strategy.propose(engine), engine.forwards
        assert proposal is not None
        outcome = engine.attempt(*proposal)
        strategy.learn(engine, outcome)
        if not isinstance(outcome, Ran | Raced | Refused):
            continue
        prices = engine.prices(outcome.policy)
        stored = stored_trial(outcome, forwards=engine.forwards - before, prices=prices)
        values = (outcome.results.mean(), outcome.cost.flops_ratio) if isinstance(outcome, Ran) else None
        if isinstance(outcome, Ran | Raced):
            study.samples.save(outcome.results, study.samples_file(outcome.policy))
            kept += 1
        study.add(
            frozen_trial(
                problem.space,
                outcome.policy,
                trial_state(outcome),
                values,
                outcome.constraints,
                stored.as_attributes(),
            )
        )
        if kept % 1000 == 0:
            print(kept, "trials", flush=True)


def resume(root: Path) -> None:
    """Open the study, take in what it holds, and settle on what is next."""
    settings = SearchSettings.of({**options(root), "study_name": STUDY, "resume": True, "trials": 20_000})  # type: ignore[typeddict-item]
    study, problem = open_study(settings, evaluator())
    searcher = Searcher(evaluator(), study, problem, settings, SearchProgress())
    searcher.begin()
    assert searcher.proposal() is not None
    searcher.close(done=False)


def front(root: Path) -> None:
    """The front."""
    assert load_front(STUDY, Home.of(root / "runs"))


def report(root: Path) -> None:
    """The page."""
    import autotc

    autotc.report(STUDY, runs=root / "runs", out=root / "report.html")


ACTIONS = {"resume": resume, "front": front, "report": report}


def timed(root: Path, action: str) -> dict[str, float]:
    """Seconds, without the start of Python and the imports, and peak memory of an action in a process of its own."""
    words = [sys.executable, __file__, str(root), action]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak() -> int:
    """Most memory that this process has held, in MiB; what `resource` tells is no less than its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def main() -> None:
    """One action, measured."""
    root, action = Path(sys.argv[1]), sys.argv[2]
    before = peak()
    began = time.monotonic(), time.process_time()
    ACTIONS[action](root)
    seconds, busy = time.monotonic() - began[0], time.process_time() - began[1]
    found = {"s": round(seconds, 1), "of the processor, s": round(busy, 1)}
    print(json.dumps({**found, "MiB": peak(), "of it imports, MiB": before}))


if __name__ == "__main__":
    main()
