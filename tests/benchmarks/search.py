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
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotc.depths import Depths
from autotc.evaluate.base import Evaluator
from autotc.latency import LatencyModel
from autotc.pareto import hypervolume, pareto_front
from autotc.policy import ModelReference, Policy
from autotc.progress import Progress
from autotc.results import Results, SampleResult, SplitCost, SplitInfo
from autotc.search.archive import restricted
from autotc.search.budget import Budget, Costs
from autotc.search.engine import Engine
from autotc.search.outcome import Raced, Ran, Refused
from autotc.search.space import SearchSpace
from autotc.search.strategies import build_strategy
from autotc.vocabulary import Split

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TABLE = RESULTS / "search-table.npz"
BUDGETS = (0.7, 0.5, 0.35)
_IDLE = 400
"""Proposals in a row that run nothing, after which a sampler has ended."""
_PROPOSALS = 700
"""Proposals of a peer at most: what Optuna's take for one grows with those before."""
_ENOUGH = {"table": 0.5, "decoder": 1.0}
"""Share of the peers' sample-forwards that the search's own strategy is given; on the table it is done by then."""


class TableEvaluator(Evaluator):
    """Looks up what was evaluated once; a policy of several modalities is put together from its parts."""

    def __init__(self, path: Path, groups: Sequence[str]) -> None:
        data = np.load(path)
        self.name, self.seed = "table", 0
        self.model = ModelReference(architecture="Qwen2_5OmniThinkerForConditionalGeneration")
        self.depths = Depths(decoder=6, encoder={"image": 3, "video": 3, "audio": 3})
        self.groups = tuple(groups)
        self.modalities = self.groups
        self._rows: dict[str, dict[str, int]] = {}
        self.policies: dict[str, list[Policy]] = {}
        self._samples: dict[tuple[str, Split], dict[str, Any]] = {}
        for group in groups:
            policies = [Policy.from_yaml(str(text)) for text in data[f"{group}/policies"]]
            self.policies[group] = policies
            self._rows[group] = {policy.content_hash(): i for i, policy in enumerate(policies)}
            for split in ("search", "val", "test"):
                task = data[f"{group}/{split}/task"]
                self._samples[group, split] = {  # type: ignore[index]
                    "task": [str(name) for name in task],
                    "chance": data[f"{group}/{split}/chance"],
                    "correct": np.unpackbits(data[f"{group}/{split}/correct"], axis=1)[:, : len(task)],
                    "log_probability": data[f"{group}/{split}/log_probability"].astype(float),
                    "divergence": data[f"{group}/{split}/divergence"].astype(float),
                    "flops": data[f"{group}/{split}/flops"],
                }
        self.ladder = {m: data[f"{m}/fitprune"] for m in groups if f"{m}/fitprune" in data}

    def info(self, split: Split) -> SplitInfo:
        chance = {}
        for group in self.groups:
            found = self._samples[group, split]
            chance.update(dict(zip(found["task"], map(float, found["chance"]), strict=True)))
        return SplitInfo({g: len(self._samples[g, split]["task"]) for g in self.groups}, "table", chance)

    def floors(self, split: Split) -> Mapping[tuple[str, str], float]:
        return {(m, at): 0.0 for m in self.groups for at in ("input", "encoder", "projector", "decoder")}

    def has(self, group: str, policy: Policy) -> bool:
        """Whether the table holds a policy's part of a group."""
        return restricted(policy, group).content_hash() in self._rows[group]

    def _row(self, group: str, policy: Policy) -> int:
        return self._rows[group][restricted(policy, group).content_hash()]

    def cost(
        self,
        policy: Policy,
        split: Split,
        *,
        groups: Collection[str] | None = None,
        latency: LatencyModel | None = None,
    ) -> SplitCost:
        by, mine, whole = {}, 0.0, 0.0
        for group in self.groups if groups is None else groups:
            flops = self._samples[group, split]["flops"]
            by[group] = float(flops[self._row(group, policy)] / flops[0])
            mine, whole = mine + flops[self._row(group, policy)], whole + flops[0]
        return SplitCost(float(mine / whole), by, float(mine), {}, {}, 0.0, 0.0)

    def run(
        self,
        policy: Policy,
        split: Split,
        *,
        limit: int | None = None,
        groups: Collection[str] | None = None,
        progress: Progress | None = None,
    ) -> Results:
        out: list[SampleResult] = []
        for group in self.groups if groups is None else groups:
            found, row = self._samples[group, split], self._row(group, policy)
            for i, task in enumerate(found["task"][:limit]):
                out.append(
                    SampleResult(
                        f"{split}-{group}-{i}",
                        task,
                        group,
                        float(found["correct"][row, i]),
                        "",
                        float(found["log_probability"][row, i]),
                        float(found["divergence"][row, i]),
                    )
                )
        return Results(tuple(out))

    def accuracy(self, group: str, split: Split) -> np.ndarray:
        """Accuracy of every policy of a group."""
        return np.asarray(self._samples[group, split]["correct"].mean(1))

    def ratio(self, group: str, split: Split) -> np.ndarray:
        """FLOPs ratio of every policy of a group."""
        flops = self._samples[group, split]["flops"]
        return np.asarray(flops / flops[0])

    def weight(self, split: Split) -> dict[str, float]:
        """Share of each group in the uncompressed FLOPs."""
        base = {g: float(self._samples[g, split]["flops"][0]) for g in self.groups}
        return {g: value / sum(base.values()) for g, value in base.items()}

    def chance(self) -> float:
        """Accuracy of guessing on the search split, mean over groups."""
        return float(np.mean([self._samples[g, "search"]["chance"].mean() for g in self.groups]))


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """(cost, accuracy) that no cheaper or equal one beats, cheapest first."""
    return pareto_front(points, cost=lambda point: point[0], value=lambda point: point[1])


def known_front(table: TableEvaluator, space: SearchSpace, split: Split = "search") -> list[tuple[float, float]]:
    """The front of all combinations of the space's policies, from the fronts of its modalities."""
    weight = table.weight(split)
    joint = [(0.0, 0.0)]
    for group in table.groups:
        inside = [i for i, p in enumerate(table.policies[group]) if not p.stages or space.holds(group, p.stages)]  # type: ignore[arg-type]
        costs, accuracy = table.ratio(group, split)[inside], table.accuracy(group, split)[inside]
        mine = pareto(list(zip(costs.tolist(), accuracy.tolist(), strict=True)))
        # The best sum of two parts is a sum of members of their fronts.
        joint = pareto([(a + weight[group] * c, b + acc / len(table.groups)) for a, b in joint for c, acc in mine])
    return joint


def best_within(front: Sequence[tuple[float, float]], budget: float) -> float:
    return max((accuracy for cost, accuracy in front if cost <= budget + 1e-9), default=0.0)


def replay(
    table: TableEvaluator,
    space: SearchSpace,
    name: str,
    seed: int,
    spend: int,
    *,
    races: bool = True,
    budget: float = 1.0,
) -> dict[str, Any]:
    """One run of a sampler on the table; the hypervolume of what it saw whole, after every spent sample-forward."""
    costs = Costs(table)
    engine = Engine(table, space, Budget(budget), costs, races=races)
    engine.start(table.run(Policy(), "search"))
    strategy = build_strategy(name, seed, lambda m, keep: fitted(table, m, keep))  # type: ignore[arg-type]
    chance = table.chance()
    front: list[tuple[float, float]] = [(1.0, float(np.mean([*engine.uncompressed.values()])))]
    curve: list[tuple[int, float]] = [(0, 0.0)]
    best = {b: [] for b in BUDGETS}  # type: ignore[var-annotated]
    idle = asked = 0
    while engine.forwards < spend and idle < _IDLE and (name == "parts" or asked < _PROPOSALS):
        asked += 1
        proposal = strategy.propose(engine)
        if proposal is None or not all(table.has(g, proposal[1]) for g in table.groups):
            idle += 1
            if proposal is None:
                break
            engine.tried.add(proposal[1].content_hash())
            strategy.learn(engine, Refused(*proposal, "not_in_table", "the table has no results of it", {"rule": 1.0}))
            continue
        before, seen = engine.forwards, len(engine.completed)
        attempt = engine.attempt(*proposal)
        strategy.learn(engine, attempt)
        idle = 0 if engine.forwards > before or len(engine.completed) > seen else idle + 1
        if len(engine.completed) > seen:
            last = engine.completed[-1]
            front = pareto([*front, (last.flops_ratio, last.accuracy)])
            curve.append((engine.forwards, hypervolume([(acc, cost) for cost, acc in front], (chance, 1.0))))
            for b in BUDGETS:
                best[b].append((engine.forwards, best_within(front, b)))
    parts = combined(table, engine)
    return {
        "curve": curve,
        "best": best,
        "spent": engine.forwards,
        "seen": len(engine.completed),
        "test": on_test(table, engine),
        "combined": hypervolume([(accuracy, cost) for cost, accuracy in parts], (chance, 1.0)),
    }


def combined(table: TableEvaluator, engine: Engine) -> list[tuple[float, float]]:
    """The front of all combinations of the parts that a run saw whole, whether or not it put them together."""
    weight = table.weight("search")
    joint = [(0.0, 0.0)]
    for group in table.groups:
        mine = pareto([(entry.cost, entry.accuracy) for entry in engine.archive.entries(group)])
        joint = pareto([(a + weight[group] * c, b + acc / len(table.groups)) for a, b in joint for c, acc in mine])
    return joint


def on_test(table: TableEvaluator, engine: Engine) -> dict[str, float | None]:
    """Accuracy on the test split of the policy that is most accurate on search within each budget."""
    out: dict[str, float | None] = {}
    for b in BUDGETS:
        fitting = [seen for seen in engine.completed if seen.flops_ratio <= b + 1e-9]
        best = max(fitting, key=lambda seen: (seen.accuracy, -seen.flops_ratio), default=None)
        out[f"{b:g}"] = None if best is None else round(table.run(best.policy, "test").mean(), 4)
    return out


def fitted(table: TableEvaluator, modality: str, keep: float) -> list[float] | None:
    """FitPrune's schedule nearest to a mean keep ratio, fitted when the table was made; None where there was none."""
    ladder = table.ladder[modality]
    row = ladder[int(np.abs(ladder[:, 0] - keep).argmin())]
    return None if keep < 1 and row[1:].min() == 1 else [float(ratio) for ratio in row[1:]]


def at(curve: Sequence[tuple[int, float]], spent: int) -> float:
    """The curve's value after so many sample-forwards."""
    return max((value for x, value in curve if x <= spent), default=0.0)


def reached(curve: Sequence[tuple[int, float]], value: float) -> float:
    """Sample-forwards until a value is reached; infinity if never."""
    return next((float(x) for x, y in curve if y >= value - 1e-12), float("inf"))


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
            engine = Engine(evaluator, space, Budget(args.budget), costs, races=name == "parts")
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

    evaluator, naive = BuiltinEvaluator(), BuiltinEvaluator()
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
            naive._batches.clear()
            naive._results.clear()
            again = {sample.id: sample for sample in naive.run(attempt.policy, "search").samples}
            theirs += time.perf_counter() - start
            compared += 1
            answers += sum(sample.correct != again[sample.id].correct for sample in attempt.results.samples)
    results = [evaluator.run(policy, "search") for policy in [*whole, *raced]]
    costs = np.array([engine.costs(policy).flops_ratio for policy in [*whole, *raced]])
    chance = evaluator.info("search").chance
    level = float(np.mean([np.mean([chance[s.task] for s in evaluator.run(Policy(), "search", groups=[g]).samples])
                           for g in engine.sizes]))  # fmt: skip
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
