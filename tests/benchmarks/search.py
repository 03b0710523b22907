"""Which search finds the front for the fewest sample-forwards? Samplers replayed on a table, or run live.

    python tests/benchmarks/search.py replay            # minutes: every sampler, 10 seeds, on results/search-table.npz
    python tests/benchmarks/search.py live --seeds 3    # the embedded model, the default space
    python tests/benchmarks/search.py speed             # trials a minute against a loop that keeps nothing

A sample-forward is one sample under one policy. All samplers share what does not depend on them: results of equal parts
are not paid twice, and policies that rules refuse cost nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from search_replay import BUDGETS, TableEvaluator, at, best_within, known_front, reached, replay

from autotc.pareto import hypervolume
from autotc.policy import Policy
from autotc.search.budget import Budget, Costs
from autotc.search.engine import Conduct, Engine
from autotc.search.outcome import Raced, Ran
from autotc.search.space import SearchSpace
from autotc.search.strategies import build_strategy

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TABLE = RESULTS / "search-table.npz"
_ENOUGH = {"table": 0.5, "decoder": 1.0}
"""Share of the peers' sample-forwards that the search's own strategy is given; on the table it is done by then."""
SAMPLERS = ("parts", "tpe", "nsga2", "nsga2+races", "random", "random+races")
DECODER = ("parts", "gsearch", "vflowopt", "fitprune", "tpe", "nsga2", "random")


def runs_of(
    table: TableEvaluator, space: SearchSpace, names: Sequence[str], seeds: int, spend: int, log: str
) -> dict[str, list[dict[str, Any]]]:
    """Every sampler over every seed."""
    out: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        # The peers evaluate every policy on the whole split, as they do; +races lends them the search's races.
        repeats = 1 if name == "fitprune" else seeds
        began = time.monotonic()
        most = int(_ENOUGH[log] * spend) if name == "parts" else spend
        races = name == "parts" or name.endswith("+races")
        out[name] = [
            replay(table, space, name.removesuffix("+races"), seed, most, races=races) for seed in range(repeats)
        ]
        print(f"{log}: {name}, {repeats} seeds, {time.monotonic() - began:.0f} s", flush=True)
    return out


def finite(value: float) -> float | None:
    """What JSON can hold."""
    return value if np.isfinite(value) else None


def middle(values: Sequence[float | None]) -> float | None:
    """Median of what there is."""
    there = [value for value in values if value is not None]
    return round(float(np.median(there)), 4) if there else None


def summary(
    table: TableEvaluator, space: SearchSpace, found: Mapping[str, list[dict[str, Any]]], enumeration: int
) -> dict[str, Any]:
    """Medians over seeds: hypervolume at shares of the enumeration, and what it takes to reach each peer's end."""
    front = known_front(table, space)
    whole = hypervolume([(accuracy, cost) for cost, accuracy in front], (table.chance(), 1.0))
    rows: dict[str, Any] = {}
    for name, runs in found.items():
        end = float(np.median([run["curve"][-1][1] for run in runs]))
        mine = [reached(run["curve"], end) for run in found["parts"]]
        theirs = float(np.median([reached(run["curve"], run["curve"][-1][1]) for run in runs]))
        rows[name] = {
            "hypervolume": {
                f"{share:g}": round(
                    float(np.median([at(run["curve"], int(share * enumeration)) for run in runs])) / whole, 4
                )
                for share in (0.01, 0.025, 0.05, 0.1)
            },
            "end": round(end / whole, 4),
            "forwards": theirs,
            "parts_forwards_to_its_end": finite(float(np.median(mine))),
            "ratio": finite(round(theirs / float(np.median(mine)), 2)),
            "combined": round(float(np.median([run["combined"] for run in runs])) / whole, 4),
            "test": {f"{b:g}": middle([run["test"][f"{b:g}"] for run in runs]) for b in BUDGETS},
            "regret": {
                f"{b:g}": None
                if not best_within(front, b)
                else round(
                    100
                    * (
                        best_within(front, b)
                        - float(np.median([at(run["best"][b], int(0.05 * enumeration)) for run in runs]))
                    ),
                    2,
                )
                for b in BUDGETS
            },
        }
    return {"enumeration": enumeration, "front": len(front), "known_hypervolume": whole, "samplers": rows}


def figure(path: Path, found: Mapping[str, list[dict[str, Any]]], whole: float, limit: int, title: str) -> None:
    """Median hypervolume over sample-forwards, with the range between quartiles."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    x = np.unique(np.geomspace(100, limit, 120).astype(int))
    for name, runs in found.items():
        values = np.array([[at(run["curve"], n) / whole for n in x] for run in runs])
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
        (line,) = axes.plot(x, middle, label=name, linewidth=2 if name == "parts" else 1.2)
        axes.fill_between(x, low, high, alpha=0.15, color=line.get_color())
    axes.set_xscale("log")
    axes.set_xlabel("sample-forwards on the search split")
    axes.set_ylabel("hypervolume / that of the known front")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    fig.savefig(path, dpi=120)
    plt.close(fig)


def do_replay(args: argparse.Namespace) -> None:
    path = RESULTS / "search.json"
    report: dict[str, Any] = json.loads(path.read_text()) if args.only and path.exists() else {}
    report["command"] = f"python tests/benchmarks/search.py replay --seeds {args.seeds}"
    for which, groups, names in (("table", ("image", "video", "audio"), SAMPLERS), ("decoder", ("image",), DECODER)):
        if args.only not in (None, which):
            continue
        table = TableEvaluator(args.table, groups)
        space = SearchSpace.load(HERE / "spaces" / f"{which}.yaml")
        inside = {
            g: sum(1 for p in table.policies[g] if not p.stages or space.holds(g, p.stages))  # type: ignore[arg-type]
            for g in groups
        }
        samples = table.info("search").samples
        enumeration = sum(inside[g] * samples[g] for g in groups)
        spend = args.spend or int((0.25 if which == "table" else 0.5) * enumeration)
        found = runs_of(table, space, names, args.seeds, spend, which)
        report[which] = {"policies": inside, "spend": spend, **summary(table, space, found, enumeration)}
        if which == "table":
            report[which]["product"] = int(np.prod([*inside.values()]))
            most = int(_ENOUGH[which] * spend)
            plain = [replay(table, space, "parts", seed, most, races=False) for seed in range(args.seeds)]
            report[which]["parts_without_races"] = summary(table, space, {"parts": plain}, enumeration)["samplers"][
                "parts"
            ]
        whole = report[which]["known_hypervolume"]
        title = f"{which}: {sum(inside.values())} policies, median of {args.seeds} seeds and quartiles"
        figure(RESULTS / f"search-{which}.png", found, whole, spend, title)
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def do_live(args: argparse.Namespace) -> None:
    """The default space on the embedded model, each sampler given the same sample-forwards."""
    from autotc.evaluate.builtin import BuiltinEvaluator
    from autotc.resources import search_space

    evaluator = BuiltinEvaluator()
    space = SearchSpace.load(search_space()).fit(evaluator.modalities, evaluator.depths)
    chance = evaluator.info("search").chance
    base = evaluator.run(Policy(), "search")
    level = float(np.mean([chance[s.task] for s in base.samples]))
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[list[tuple[int, float]]]] = {}
    for name in args.samplers.split(","):
        for seed in range(args.seeds):
            costs = Costs(evaluator)
            engine = Engine(evaluator, space, Budget(args.budget), costs, Conduct(races=name == "parts"))
            engine.start(base)
            strategy = build_strategy(name, seed, lambda m, k: [])  # type: ignore[arg-type]
            began, policies = time.monotonic(), 0
            tried: list[Policy] = []
            points: list[tuple[float, float]] = []
            curve = [(0, 0.0)]
            while engine.forwards < args.spend and time.monotonic() - began < args.seconds:
                proposal = strategy.propose(engine)
                if proposal is None:
                    break
                attempt = engine.attempt(*proposal)
                policies += isinstance(attempt, Ran | Raced)
                tried.append(attempt.policy)
                strategy.learn(engine, attempt)
                if len(engine.completed) > len(points):
                    points.append((engine.completed[-1].accuracy, engine.completed[-1].flops_ratio))
                    curve.append((engine.forwards, hypervolume(points, (level, 1.0))))
            row = {
                "sampler": name,
                "seed": seed,
                "forwards": engine.forwards,
                "whole": len(engine.completed),
                "policies": policies,
                "seconds": round(time.monotonic() - began, 1),
                "cut": engine.forwards < args.spend,
                "hypervolume": round(hypervolume(points, (level, 1.0)), 4),
                "best": round(max((a for a, _ in points), default=0.0), 4),
            }
            rows.append(row)
            curves.setdefault(name, []).append(curve)
            print(json.dumps(row), flush=True)
            for policy in tried:
                evaluator.forget(policy)
    medians = {}
    for name, theirs in curves.items():
        end = float(np.median([curve[-1][1] for curve in theirs]))
        medians[name] = {
            "hypervolume": round(end, 4),
            "best": round(float(np.median([row["best"] for row in rows if row["sampler"] == name])), 4),
            "forwards": float(np.median([reached(curve, curve[-1][1]) for curve in theirs])),
            "parts_forwards_to_its_end": finite(
                float(np.median([reached(curve, end) for curve in curves.get("parts", [])] or [np.inf]))
            ),
        }
        print(name, json.dumps(medians[name]), flush=True)
    command = (
        f"python tests/benchmarks/search.py live --samplers {args.samplers} --budget {args.budget:g}"
        f" --seeds {args.seeds} --spend {args.spend} --seconds {args.seconds:g}"
    )
    report = {"command": command, "medians": medians, "runs": rows}
    name = "search-live.json" if args.budget == 0.5 else f"search-live-{args.budget:g}.json"
    (RESULTS / name).write_text(json.dumps(report, indent=1) + "\n")


def do_speed(args: argparse.Namespace) -> None:
    """Trials a minute against the naive loop, a naive one after every few of ours, on the same policies.

    The naive loop runs every policy on the whole split and keeps nothing: neither inputs, nor what the towers made of
    them, nor results of equal parts. A trial counts when it has results on at least 200 samples. Afterwards, off the
    clock, what races gave up runs on the whole split as well: the naive loop's front is that of all policies.
    """
    from autotc.evaluate.builtin import BuiltinEvaluator
    from autotc.resources import search_space
    from autotc.search.seeds import seed_policies

    evaluator = BuiltinEvaluator()
    space = SearchSpace.load(search_space()).fit(evaluator.modalities, evaluator.depths)
    engine = Engine(evaluator, space, Budget(args.budget), Costs(evaluator))
    engine.start(evaluator.run(Policy(), "search"))
    strategy = build_strategy("parts", 0, lambda m, k: [])
    seeds = seed_policies(space, evaluator.depths, engine.locations, engine.costs, engine.budget)
    ours = theirs = 0.0
    counted = compared = trials = answers = 0
    whole, raced = [], []
    while trials < args.trials:
        start = time.perf_counter()
        origin, policy = seeds.pop(0) if seeds else strategy.propose(engine) or ("none", Policy())
        attempt = engine.attempt(origin, policy, race=":" not in origin)
        strategy.learn(engine, attempt)
        ours += time.perf_counter() - start
        if not isinstance(attempt, Ran | Raced):
            continue
        trials += 1
        (whole if isinstance(attempt, Ran) else raced).append(attempt.policy)
        counted += len(attempt.results) >= 200
        if trials % 6 == 0:
            start = time.perf_counter()
            naive = BuiltinEvaluator(evaluator.loaded, evaluator.processor)  # of what ran before it knows nothing
            again = {sample.id: sample for sample in naive.run(attempt.policy, "search").samples}
            theirs += time.perf_counter() - start
            compared += 1
            answers += sum(sample.correct != again[sample.id].correct for sample in attempt.results.samples)
    results = [evaluator.run(policy, "search") for policy in [*whole, *raced]]
    costs = np.array([engine.costs(policy).flops_ratio for policy in [*whole, *raced]])
    chance = evaluator.info("search").chance
    level = float(
        np.mean(
            [
                np.mean([chance[s.task] for s in evaluator.run(Policy(), "search", groups=[g]).samples])
                for g in engine.sizes
            ]
        )
    )
    correct = {group: np.array([r.groups("modality")[group] for r in results]) for group in engine.sizes}

    def volumes(rows: Mapping[str, np.ndarray]) -> tuple[float, float]:
        """Hypervolume of what ran whole, and of all, on some of the samples."""
        accuracy = np.mean([correct[group][:, rows[group]].mean(1) for group in rows], axis=0)
        points = list(zip(accuracy.tolist(), costs.tolist(), strict=True))
        return hypervolume(points[: len(whole)], (level, 1.0)), hypervolume(points, (level, 1.0))

    rng = np.random.default_rng(0)
    mine, all_ = volumes({group: np.arange(size) for group, size in engine.sizes.items()})
    drawn = [volumes({g: rng.integers(size, size=size) for g, size in engine.sizes.items()}) for _ in range(1000)]
    row = {
        "command": f"python tests/benchmarks/search.py speed --trials {args.trials}",
        "trials": trials,
        "counted": counted,
        "per_minute": round(60 * counted / ours, 1),
        "naive_per_minute": round(60 * compared / theirs, 1),
        "ratio": round(counted / ours / (compared / theirs), 2),
        "answers_scored_otherwise": answers,
        "hypervolume": round(mine, 4),
        "naive_hypervolume": round(all_, 4),
        "naive_interval": [round(float(x), 4) for x in np.quantile([b for _, b in drawn], [0.025, 0.975])],
    }
    (RESULTS / "search-speed.json").write_text(json.dumps(row, indent=1) + "\n")
    print(json.dumps(row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("replay")
    one.add_argument("--table", type=Path, default=TABLE)
    one.add_argument("--seeds", type=int, default=10)
    one.add_argument("--spend", type=int, default=None, help="sample-forwards of each run")
    one.add_argument("--only", choices=("table", "decoder"), help="one of the two spaces; the other's results stay")
    two = commands.add_parser("live")
    two.add_argument("--seeds", type=int, default=3)
    two.add_argument("--samplers", default="parts,tpe,nsga2")
    two.add_argument("--budget", type=float, default=0.5)
    two.add_argument("--spend", type=int, default=10_000)
    two.add_argument("--seconds", type=float, default=900.0, help="most of a run")
    three = commands.add_parser("speed")
    three.add_argument("--trials", type=int, default=90)
    three.add_argument("--budget", type=float, default=0.5)
    args = parser.parse_args()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    {"replay": do_replay, "live": do_live, "speed": do_speed}[args.command](args)


if __name__ == "__main__":
    main()
