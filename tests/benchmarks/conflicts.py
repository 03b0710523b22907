"""Which stacks conflict on the embedded model, and does the predicted score tell, on stages it was not fitted on?

    python tests/benchmarks/conflicts.py measure [--minutes 50] [--claims]
    python tests/benchmarks/conflicts.py report

Mechanisms are divided into two halves. ``measure`` takes pairs of stages of one half in a fixed random order, both
halves in turn, and pairs for the survey's claims, and measures their interactions on the test split (600 samples of the
modality); it may be stopped, and goes on where it was. ``report`` fits the score on half 1, whose weights are those of
`autotc.conflicts.predicted`, tests it on half 2, looks at the claims, and writes ``results/conflicts.csv``,
``conflicts.md`` and a heatmap of each modality. What the score reads is of the search split.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotc.conflicts import predicted
from autotc.errors import AutotcError
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.interactions import Interaction, Pair, legal_pairs, measure_pair, open_store, parse_placement
from autotc.placement import Placement
from autotc.records.interaction import Keeps
from autotc.report.figures import HeatmapCell, heatmap_png
from autotc.vocabulary import MODALITIES

RESULTS = Path(__file__).parent / "results"
FOLDER = Path("runs/conflicts/benchmark")
SPLIT = "test"
KEEPS: tuple[Keeps, ...] = ((0.5, 0.25), (0.3, 0.1), (0.7, 0.15))
HALVES: dict[int, tuple[str, ...]] = {
    1: (
        *("random@projector", "avg_pool@projector"),
        *("a_tome@projector", "divprune@projector", "divprune@encoder", "evs@projector", "floc@projector"),
        *("floc@decoder", "mob@decoder", "scissor@projector", "vidcom2@projector", "g_prune@projector"),
        *("btp@decoder", "prumerge@projector", "received_attention@encoder", "received_attention@decoder"),
        *("visionzip@projector", "cdpruner@projector", "sparsevlm@decoder"),
    ),
    2: (
        *("uniform_stride@projector", "frequency@projector"),
        *("dart@decoder", "dyn_ttm@projector", "folder@encoder", "fastadasp@decoder", "pact_dbdpc@decoder"),
        *("tome@encoder", "tome@projector", "tome@decoder", "framefusion@projector"),
        *("fastv@decoder", "pyramiddrop@decoder", "rep_shift@encoder", "rep_shift@decoder", "vispruner@projector"),
        *("cls_attention@projector", "pooled_query@projector", "text_similarity@projector", "text_attention@decoder"),
    ),
}
"""Families are spread evenly; a mechanism is in one half wherever it stands."""
CLAIMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "external query pruning + decoder attention pruning": (
        ("cdpruner@projector", "text_similarity@projector", "pooled_query@projector"),
        ("fastv@decoder", "pyramiddrop@decoder", "sparsevlm@decoder"),
    ),
    "attention-keep + similarity-merge": (
        ("received_attention@encoder", "cls_attention@projector", "vispruner@projector"),
        ("tome@projector", "tome@decoder", "pact_dbdpc@decoder"),
    ),
    "redundancy first, then relevance": (
        ("divprune@projector", "floc@projector", "tome@projector", "evs@projector"),
        ("fastv@decoder", "text_attention@decoder", "text_similarity@decoder"),
    ),
}
"""The survey's (2507.20198, section 6.3): first stages and second stages of each."""


def places(evaluator: BuiltinEvaluator, names: tuple[str, ...]) -> list[Placement]:
    """Places by their names."""
    return [parse_placement(name, evaluator.depths) for name in names]


def pairs(evaluator: BuiltinEvaluator, quiet: bool = False) -> Iterator[tuple[str, Pair]]:
    """(half or claim, pair) of all that may be measured, in the order in which they are."""
    lists: list[list[tuple[str, Pair]]] = []
    for half, names in HALVES.items():
        for modality in MODALITIES:
            found = list(legal_pairs(evaluator, places(evaluator, names), [modality], KEEPS))
            random.Random(f"{half} {modality}").shuffle(found)
            lists.append([(f"half {half}", pair) for pair in found])
    claims: list[tuple[str, Pair]] = []
    for claim, (firsts, seconds) in CLAIMS.items():
        for modality, first, second in itertools.product(
            MODALITIES, places(evaluator, firsts), places(evaluator, seconds)
        ):
            for keeps in KEEPS[:2]:
                pair = Pair(first, second, modality, keeps)
                if first.takes(modality) and second.takes(modality):
                    try:
                        pair.check(evaluator)
                    except AutotcError as error:
                        if not quiet:
                            print(f"claim, refused: {pair.label}: {error}", flush=True)
                        continue
                    claims.append((claim, pair))
    random.Random("claims").shuffle(claims)
    lists.append(claims)
    for turn in itertools.zip_longest(*lists):
        yield from (entry for entry in turn if entry is not None)


def measure(minutes: float, only_claims: bool) -> None:
    """Measure in order until the time is over."""
    evaluator = BuiltinEvaluator()
    store = open_store(evaluator, SPLIT, None, FOLDER)
    until = time.monotonic() + 60 * minutes
    done: list[tuple[str, Interaction]] = []
    todo = [entry for entry in pairs(evaluator) if not only_claims or entry[0] in CLAIMS]
    print(f"{len(todo)} pairs", flush=True)
    for group, pair in todo:
        if time.monotonic() > until:
            break
        try:
            found = measure_pair(evaluator, store, pair, SPLIT, None)
        except AutotcError as error:
            print(f"{pair.label}: {error}", flush=True)
            continue
        done.append((group, found))
        mean, low, high = found.interaction
        print(f"{len(done)} {group} {pair.label} {100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] "
              f"{found.effect} {found.reached}", flush=True)  # fmt: skip


class _Known(BuiltinEvaluator):
    """Runs nothing: what is not in the store is not reported."""

    def run(self, *_args: Any, **_kwargs: Any) -> Any:
        raise LookupError


def known() -> list[tuple[str, Interaction]]:
    """Everything that was measured."""
    evaluator = _Known()
    store = open_store(evaluator, SPLIT, None, FOLDER)
    out: dict[str, tuple[str, Interaction]] = {}
    # A pair of a claim may be one of a half too, and then counts there.
    for group, pair in sorted(pairs(evaluator, quiet=True), key=lambda entry: entry[0] in CLAIMS):
        if pair.label in out:
            continue
        try:
            out[pair.label] = group, measure_pair(evaluator, store, pair, SPLIT, None)
        except (LookupError, AutotcError):
            continue
    return list(out.values())


SETS: dict[str, tuple[str, ...]] = {
    "shift": ("shift",),
    "shift, answer": ("shift", "answer"),
    "shift, coverage": ("shift", "coverage"),
    "shift, answer, coverage": ("shift", "answer", "coverage"),
    "shift, answer, coverage, importance": ("shift", "answer", "coverage", "importance"),
    "concentrated, disagreement, redundancy, input": ("concentrated", "disagreement", "redundancy", "input"),
    "all": predicted.FEATURES,
}
"""Candidates, fixed before any was tried; the choice between them is made inside half 1."""
KINDS = ("verdict", "interaction")
PENALTIES = (0.1, 1.0, 10.0)
CLIP = 0.2
"""Interactions beyond it count as this large."""
SAMPLES = (8, 16, 32)
DEFAULT = 16
"""Calibration samples that `predict` takes unless told; chosen on half 1."""
ACCURACIES = ("stack", "first", "second", "first_own", "second_own", "none")
Table = list[dict[str, Any]]


def fit(rows: Table, names: Sequence[str], kind: str, penalty: float) -> tuple[np.ndarray, float]:
    """Weights and bias of a logistic model of conflicts, in units of the features.

    ``verdict`` fits it to the verdicts; ``interaction`` fits the weights' proportions to the interactions by ridge
    regression through zero (no difference, no interaction), and their size and the bias to the verdicts.
    """
    from sklearn.linear_model import LogisticRegression

    x, conflict = matrix(rows, names), [row["conflict"] for row in rows]
    scale = np.sqrt((x**2).mean(0)) + 1e-9
    if kind == "verdict":
        model = LogisticRegression(C=1 / penalty, max_iter=1000).fit(x / scale, conflict)
        return model.coef_[0] / scale, float(model.intercept_[0])
    lost = np.clip([-row["interaction"] for row in rows], -CLIP, CLIP)
    scaled = x / scale
    weights = np.linalg.solve(scaled.T @ scaled + penalty * np.eye(len(names)), scaled.T @ lost)
    line = scaled @ weights
    model = LogisticRegression(C=1.0, max_iter=1000).fit(line[:, None] / line.std(), conflict)
    return weights / scale * model.coef_[0, 0] / line.std(), float(model.intercept_[0])


def matrix(rows: Table, names: Sequence[str]) -> np.ndarray:
    return np.array([[row[name] for name in names] for row in rows])


def odds(rows: Table, names: Sequence[str], weights: np.ndarray, bias: float) -> np.ndarray:
    return matrix(rows, names) @ weights + bias


def held_out(rows: Table, names: Sequence[str], kind: str, penalty: float) -> np.ndarray:
    """Score of each row by models that saw no pair with one of its mechanisms, mean over its two mechanisms.

    Without the biases, which would tell how many conflicts the mechanisms left out have.
    """
    total, times = np.zeros(len(rows)), np.zeros(len(rows))
    for mechanism in sorted({m for row in rows for m in row["mechanisms"]}):
        mine = np.array([mechanism in row["mechanisms"] for row in rows])
        others = [row for row, inside in zip(rows, mine, strict=True) if not inside]
        weights, _ = fit(others, names, kind, penalty)
        score = matrix(rows, names) @ weights
        total[mine] += score[mine] / score.std()
        times[mine] += 1
    return total / times


def auroc(rows: Table, score: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score([row["conflict"] for row in rows], score))


def spearman(rows: Table, score: np.ndarray) -> float:
    """Of the score with what the stack loses."""
    from scipy.stats import spearmanr

    return float(spearmanr(score, [-row["interaction"] for row in rows]).statistic)


def interval(rows: Table, score: np.ndarray, of: Any) -> tuple[float, float, float]:
    """A statistic with its 95% bootstrap interval over pairs: one pair's settings of ratios stay together."""
    groups: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault((row["modality"], row["first"], row["second"]), []).append(i)
    members = [np.array(group) for group in groups.values()]
    rng = np.random.default_rng(0)
    found = []
    for _ in range(1000):
        at = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        chosen = [rows[i] for i in at]
        if len({row["conflict"] for row in chosen}) == 2:
            found.append(of(chosen, score[at]))
    low, high = np.quantile(found, [0.025, 0.975])
    return of(rows, score), float(low), float(high)


def with_features(evaluator: BuiltinEvaluator, measured: Sequence[tuple[str, Interaction]], samples: int) -> Table:
    rows: Table = []
    predictor = predicted.ConflictPredictor(evaluator, samples)
    for group, found in measured:
        mean, low, high = found.interaction
        pair = found.pair
        described = {
            "group": group,
            "modality": pair.modality,
            "first": pair.first.label,
            "second": pair.second.label,
            "keep_first": pair.keeps[0],
            "keep_second": pair.keeps[1],
            "interaction": mean,
            "low": low,
            "high": high,
            "verdict": found.effect,
            **dict(zip(("additive", "additive_low", "additive_high"), found.additive, strict=True)),
            **{f"accuracy_{key}": found.accuracy.get(key) for key in ACCURACIES},
            **{f"flops_{key}": value for key, value in found.flops_ratio.items()},
            "reached": " ".join(found.reached),
            "conflict": found.effect == "conflict",
            "mechanisms": (pair.first.mechanism, pair.second.mechanism),
        }
        rows.append({**described, **predictor.features(pair.stages())})
    return rows


def report() -> None:
    """Fit on half 1, test on half 2, and look at the claims."""
    measured = known()
    evaluator = BuiltinEvaluator()
    start = time.perf_counter()
    rows = with_features(evaluator, measured, DEFAULT)
    seconds = (time.perf_counter() - start) / len(rows)
    halves = {h: [row for row in rows if row["group"] == f"half {h}"] for h in HALVES}
    lines = ["# Which stacks conflict on the embedded model", "", f"{len(rows)} stacks measured on the test split.", ""]
    lines += ["| pairs | stacks | conflict | neutral | synergy |", "|---|---|---|---|---|"]
    for group in dict.fromkeys(row["group"] for row in rows):
        mine = [row["verdict"] for row in rows if row["group"] == group]
        lines.append(f"| {group} | {len(mine)} | " + " | ".join(
            str(mine.count(v)) for v in ("conflict", "neutral", "synergy")) + " |")  # fmt: skip
    lines += [
        "",
        "## Choice inside half 1",
        "",
        "Held out: pairs with a mechanism, by models that saw none of them.",
        "",
    ]
    lines += ["| features | fitted to | penalty | AUROC | Spearman |", "|---|---|---|---|---|"]
    best: tuple[float, str, str, float] | None = None
    for (name, names), kind, penalty in itertools.product(SETS.items(), KINDS, PENALTIES):
        score = held_out(halves[1], names, kind, penalty)
        a, r = auroc(halves[1], score), spearman(halves[1], score)
        lines.append(f"| {name} | {kind} | {penalty:g} | {a:.3f} | {r:.3f} |")
        if best is None or a + r > best[0] + 1e-9:
            best = (a + r, name, kind, penalty)
    assert best is not None
    _, chosen, kind, penalty = best
    names = SETS[chosen]
    weights, bias = fit(halves[1], names, kind, penalty)
    rounded = {name: float(f"{weight:.3g}") for name, weight in zip(names, weights, strict=True)}
    lines += ["", f"Chosen: {chosen}; {kind}, penalty {penalty:g}. `WEIGHTS = {rounded}`, `BIAS = {bias:.3g}`.", ""]
    if rounded != predicted.WEIGHTS or float(f"{bias:.3g}") != predicted.BIAS:
        print("the weights in autotc/conflicts/predicted.py are others")
    lines += ["## Test on half 2", ""]
    table = ["| score | samples | AUROC | Spearman with what is lost |", "|---|---|---|---|"]
    test = halves[2]

    def line(label: str, samples: int, tested: Table, score: np.ndarray) -> str:
        a, r = interval(tested, score, auroc), interval(tested, score, spearman)
        shown = ["{:.3f} [{:.3f}, {:.3f}]".format(*value) for value in (a, r)]
        return f"| {label} | {samples} | " + " | ".join(shown) + " |"

    values = np.array(list(rounded.values()))
    score = odds(test, names, values, bias)
    table.append(line("**the score**", DEFAULT, test, score))
    for modality in MODALITIES:
        mine = [row for row in test if row["modality"] == modality]
        table.append(line(f"the score, {modality}", DEFAULT, mine, odds(mine, names, values, bias)))
    for samples in SAMPLES:
        if samples == DEFAULT:
            continue
        more = with_features(evaluator, [m for m in measured if m[0] == "half 2"], samples)
        table.append(line("the score", samples, more, odds(more, names, values, bias)))
    for name, other in SETS.items():
        if other != names:
            table.append(
                line(
                    f"fitted on half 1: {name}", DEFAULT, test, odds(test, other, *fit(halves[1], other, kind, penalty))
                )
            )
    for name in predicted.FEATURES:
        table.append(line(f"{name} alone", DEFAULT, test, np.array([row[name] for row in test])))
    lines += table
    said = 1 / (1 + np.exp(-score)) > predicted.CONFLICT_THRESHOLD
    told = [row["verdict"] for row, yes in zip(test, said, strict=True) if yes]
    present = sum(row["conflict"] for row in test)
    lines += [
        "",
        f"At the threshold {predicted.CONFLICT_THRESHOLD:g}: {told.count('conflict')} of {present} conflicts are told;"
        f" of {len(told)} stacks told to conflict {told.count('conflict')} do, {told.count('neutral')} are neutral and"
        f" {told.count('synergy')} are synergies. {1000 * seconds:.0f} ms a stack, single stages being shared.",
        "",
        *claims(rows),
    ]
    (RESULTS / "conflicts.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    for row in rows:
        row["predicted"] = predicted.score_of(row)
    columns = [key for key in rows[0] if key not in ("conflict", "mechanisms")]
    with (RESULTS / "conflicts.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()})
    figures(rows)


def figures(rows: Table) -> None:
    """A heatmap of each modality."""
    for modality in MODALITIES:
        cells: dict[tuple[str, str], Table] = {}
        for row in rows:
            if row["modality"] == modality:
                cells.setdefault((row["first"], row["second"]), []).append(row)
        drawn = [
            # In bold where all settings of ratios say conflict, or all synergy.
            HeatmapCell(
                *key,
                100 * float(np.mean([row["interaction"] for row in mine])),
                {row["verdict"] for row in mine} in ({"conflict"}, {"synergy"}),
            )
            for key, mine in cells.items()
        ]
        title = "Interactions of stages on the embedded model"
        heatmap_png(title, {f"{modality}, mean over ratios": drawn}, RESULTS / f"conflicts-{modality}.png")


def claims(rows: Table) -> list[str]:
    """What was measured of each of the survey's claims, whichever group a pair was measured in."""
    lines = ["## The survey's claims", "", "Points, mean over stacks; interactions against the better stage alone.", ""]
    lines += ["| claim | modality | stacks | conflict | neutral | synergy | interaction | additive |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for claim, (firsts, seconds) in CLAIMS.items():
        for modality in MODALITIES:
            mine = [
                row for row in rows
                if row["modality"] == modality
                and row["first"].split("[")[0] in firsts and row["second"].split("[")[0] in seconds
            ]  # fmt: skip
            unique = list({(r["first"], r["second"], r["keep_first"], r["keep_second"]): r for r in mine}.values())
            if not unique:
                continue
            verdicts = [row["verdict"] for row in unique]
            counts = " | ".join(str(verdicts.count(v)) for v in ("conflict", "neutral", "synergy"))
            means = [f"{100 * np.mean([row[k] for row in unique]):+.1f}" for k in ("interaction", "additive")]
            lines.append(f"| {claim} | {modality} | {len(unique)} | {counts} | " + " | ".join(means) + " |")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("measure", "report"))
    parser.add_argument("--minutes", type=float, default=50, help="of measuring")
    parser.add_argument("--claims", action="store_true", help="measure the pairs of the survey's claims alone")
    args = parser.parse_args()
    if args.what == "measure":
        measure(args.minutes, args.claims)
    else:
        report()
