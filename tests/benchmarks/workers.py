"""Many workers on one study: what they gain, what they lose, and what the storage serves.

    python tests/benchmarks/workers.py throughput     # 8 workers against 1, trials of simulated length, real processes
    python tests/benchmarks/workers.py front          # 8 workers against 1 on the table of search.py, 10 seeds
    python tests/benchmarks/workers.py kills          # 50 kills at random moments, of workers and of the search
    python tests/benchmarks/workers.py storage        # 64 simulated workers on PostgreSQL
    python tests/benchmarks/workers.py proposals      # seconds of a proposal as a study grows to 2,000 trials
    python tests/benchmarks/workers.py large          # a study of 10,000 trials: resumed, its front, its report

Each writes its part of `results/workers.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))
RESULTS = HERE / "results" / "workers.json"

from tests.search import fleet  # noqa: E402


def throughput(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluations a minute of one worker and of several, while all of them are there and have work."""
    from autotc.resources import search_space

    evaluations = {}
    for workers in (1, args.workers):
        with tempfile.TemporaryDirectory() as folder:
            root, count = Path(folder), args.trials if workers == 1 else 8 * args.trials
            # The default space: a small one is exhausted before all workers are there.
            more = {
                "space": search_space(),
                "races": False,
                "sampler": "parts",
                "workers": workers,
                "predict_conflicts": False,
            }
            processes = [fleet.start(fleet.lead, root, count, args.seconds, more)]
            processes += [fleet.start(fleet.help_, root, args.seconds) for _ in range(workers - 1)]
            for process in processes:
                process.join()
                assert process.exitcode == 0
            assert [line for line, times in Counter(fleet.lines(root)).items() if times > 1] == []
            begin, end = _busy(root, workers)
            minutes = (end - begin) / 60
            evaluations[workers] = sum(begin < ended <= end for _, ended in _ended(root)) / minutes
            print(workers, "workers:", evaluations[workers], "a minute, in", minutes, flush=True)
    return {
        "seconds an evaluation": args.seconds,
        "workers": args.workers,
        "evaluations a minute": {str(key): round(value, 2) for key, value in evaluations.items()},
        "ratio": round(evaluations[args.workers] / evaluations[1], 2),
    }


def _ended(root: Path) -> list[tuple[str, float]]:
    """Process and time of the end of each evaluation on the search split."""
    lines = [line.split() for line in (root / "log").read_text(encoding="utf-8").splitlines()]
    return [(who.partition("@")[0], float(who.partition("@")[2])) for who, split, *_ in lines if split == "search"]


def _busy(root: Path, workers: int) -> tuple[float, float]:
    """From when the last worker has ended its first evaluation, until when the last trial begins."""
    first: dict[str, float] = {}
    for who, ended in _ended(root):
        first.setdefault(who, ended)
    assert len(first) == workers
    return max(first.values()), max(trial.datetime_start.timestamp() for trial in _ran(root))


def _ran(root: Path) -> list[Any]:
    """Trials of the study that ran samples."""
    return [trial for trial in _trials(root) if trial.user_attrs.get("record", {}).get("ran")]


def _trials(root: Path) -> list[Any]:
    from autotc.search.home import Home
    from autotc.search.storage import load_study

    return load_study(fleet.STUDY, Home.of(root / "runs")).stored.trials


def front(args: argparse.Namespace) -> dict[str, Any]:
    """Hypervolume after the same number of trials, one worker and several, on the table: time is simulated."""
    sys.path.insert(0, str(HERE))
    from search_fleet import simulated
    from search_replay import TableEvaluator

    from autotc.search.space import SearchSpace

    table = TableEvaluator(HERE / "results" / "search-table.npz", ("image", "video", "audio"))
    space = SearchSpace.load(HERE / "spaces" / "table.yaml")
    found: dict[str, list[float]] = {}
    for trials in (60, 120):
        for workers in (1, args.workers):
            values = [simulated(table, space, seed, workers, trials) for seed in range(args.seeds)]
            found[f"{trials} trials, {workers} workers"] = [round(value, 5) for value in values]
            print(trials, workers, round(float(np.median(values)), 4), flush=True)
    return {
        "seeds": args.seeds,
        "hypervolume": found,
        "ratio of medians": {
            str(trials): round(
                float(
                    np.median(found[f"{trials} trials, {args.workers} workers"])
                    / np.median(found[f"{trials} trials, 1 workers"])
                ),
                4,
            )
            for trials in (60, 120)
        },
    }


def kills(args: argparse.Namespace) -> dict[str, Any]:
    """Kill workers and the search at random moments, start them again, and see that nothing is lost or run twice."""
    rng = random.Random(args.seed)
    done, lost, twice, equal, studies = 0, 0, 0, 0, 0
    while done < args.kills:
        studies += 1
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            leader, helpers = fleet.start(fleet.lead, root, 40, 0.05), []
            finished: dict[int, Any] = {}
            while True:
                helpers = [process for process in helpers if process.is_alive()]
                helpers += [fleet.start(fleet.help_, root, 0.05) for _ in range(2 - len(helpers))]
                time.sleep(rng.uniform(3.0, 7.0))
                now = {trial.number: trial for trial in _stored(root)}
                lost += sum(number not in now or now[number].state != old.state for number, old in finished.items())
                finished = {number: trial for number, trial in now.items() if trial.state.is_finished()}
                if not leader.is_alive():
                    if leader.exitcode == 0:
                        break
                    leader = fleet.start(fleet.again, root, 40, 0.05)
                    continue
                if done < args.kills:
                    victim = rng.choice([leader, *helpers])
                    os.kill(victim.pid or 0, signal.SIGKILL)
                    victim.join()
                    done += 1
                    print("kill", done, "the search" if victim is leader else "a worker", flush=True)
            for process in helpers:
                process.join(120)
                process.kill()
            twice += _twice(root)
            equal += _same_front(root)
    return {"kills": done, "studies": studies, "finished trials lost": lost, "run twice": twice, "equal fronts": equal}


def _stored(root: Path) -> list[Any]:
    """Trials of the study; none while it is not made yet."""
    from autotc.search.errors import SearchError

    try:
        return _trials(root)
    except SearchError:
        return []


def _twice(root: Path) -> int:
    """Policies that two finished trials of a study ran."""
    ran = [
        trial.user_attrs["record"]["hash"] for trial in _trials(root) if trial.user_attrs.get("record", {}).get("ran")
    ]
    return sum(times - 1 for times in Counter(ran).values())


def _same_front(root: Path) -> bool:
    """Whether the study's front is that of the same policies, each evaluated here, undisturbed."""
    from autotc.pareto import pareto_front
    from autotc.search.home import Home
    from autotc.search.storage import load_front, load_trials

    evaluator = fleet.Logged(root / "undisturbed")
    home = Home.of(root / "runs")
    values = {
        record.number: (
            evaluator.run(record.policy, "search").mean(),
            evaluator.cost(record.policy, "search").flops_ratio,
        )
        for record in load_trials(fleet.STUDY, home)
    }
    again = pareto_front(
        list(values), cost=lambda n: values[n][1], value=lambda n: values[n][0], tie=lambda n: float(n)
    )
    return again == [record.number for record in load_front(fleet.STUDY, home)]


def storage(args: argparse.Namespace) -> dict[str, Any]:
    """Trials a second that PostgreSQL serves to simulated workers, and how long a proposal takes at 2,000 trials."""
    import optuna

    from autotc.policy import UNCOMPRESSED
    from autotc.search.deaths import WORK
    from autotc.search.home import Home
    from autotc.search.leases import Leases, Worker
    from tests.search.test_servers import Postgres

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    server = Postgres(Path(tempfile.gettempdir()) / f"autotc-benchmark-{os.getpid()}")
    try:
        home = Home.of(Path(tempfile.mkdtemp()), server.url)
        name = optuna.create_study(storage=home.open(), study_name="x", directions=["maximize", "minimize"]).study_name
        counts = [0] * args.simulated
        until = time.monotonic() + args.duration

        def work(index: int) -> None:
            leases = Leases(optuna.load_study(study_name=name, storage=home.open()), home, Worker.here())
            while time.monotonic() < until:
                trial = optuna.trial.create_trial(
                    state=optuna.trial.TrialState.RUNNING, user_attrs={WORK: UNCOMPRESSED.to_yaml()}
                )
                lease = leases.take(trial, lambda other: False)
                assert lease is not None
                lease.finish("COMPLETE", [0.5, 0.5], {"record": {"accuracy": {"image": 0.5}}})
                counts[index] += 1
            leases.close()

        threads = [threading.Thread(target=work, args=(i,)) for i in range(args.simulated)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        server.stop()
    return {
        "workers": args.simulated,
        "trials": sum(counts),
        "trials a second": round(sum(counts) / args.duration, 1),
        "fewest and most of a worker": [min(counts), max(counts)],
    }


def proposals(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a proposal of `parts` as a study grows."""
    from autotc.policy import UNCOMPRESSED
    from autotc.resources import search_space
    from autotc.search.budget import Budget, Costs
    from autotc.search.engine import Conduct, Engine
    from autotc.search.outcome import Raced, Ran
    from autotc.search.reach import offered_locations
    from autotc.search.space import SearchSpace
    from autotc.search.strategies import build_strategy
    from tests.search.synthetic import SyntheticEvaluator

    evaluator = SyntheticEvaluator(samples=40)
    fitted = SearchSpace.load(search_space()).fit(evaluator.modalities, evaluator.depths)
    space, _ = fitted.offered(offered_locations(evaluator))
    engine = Engine(evaluator, space, Budget(0.5), Costs(evaluator), Conduct(limit=40))
    engine.start(evaluator.run(UNCOMPRESSED, "search"))
    strategy = build_strategy("parts", 0, lambda modality, keep: None)
    trials, times, out = 0, [], {}
    while trials < args.most:
        began = time.monotonic()
        proposal = strategy.propose(engine)
        times.append(time.monotonic() - began)
        if proposal is None:
            break
        outcome = engine.attempt(*proposal)
        strategy.learn(engine, outcome)
        if isinstance(outcome, Ran | Raced):
            trials += 1
            if trials in (100, 500, 1000, args.most):
                last = sorted(times[-100:])
                out[f"{trials} trials"] = {"median, s": round(last[50], 3), "longest, s": round(last[-1], 3)}
                print(trials, out[f"{trials} trials"], flush=True)
    return {"of the last 100 proposals": out}


def large(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds and memory of a study of many trials, each action in a process of its own."""
    import search_large

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        search_large.build(root, args.stored)
        found: dict[str, Any] = {"resume, files one by one": search_large.timed(root, "resume")}
        for action in search_large.ACTIONS:
            found[action] = search_large.timed(root, action)
            print(action, found[action], flush=True)
        stored = len(_trials(root))
    return {"trials that ran": args.stored, "trials stored": stored, **found}


PARTS = {
    "throughput": throughput,
    "front": front,
    "kills": kills,
    "storage": storage,
    "proposals": proposals,
    "large": large,
}


def main() -> None:
    """Run one part and keep its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument(
        "--trials", type=int, default=20, help="of one worker in `throughput`; several get 8 times as many"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="that an evaluation of `throughput` takes")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--simulated", type=int, default=64)
    parser.add_argument("--duration", type=float, default=30.0)
    parser.add_argument("--stored", type=int, default=10_000, help="trials of `large`")
    parser.add_argument("--most", type=int, default=2_000, help="trials of `proposals`")
    args = parser.parse_args()
    found = PARTS[args.part](args)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    kept[args.part] = {"date": f"{datetime.now():%Y-%m-%d}", "command": "python " + " ".join(sys.argv), **found}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
