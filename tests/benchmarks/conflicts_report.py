"""What `conflicts.py` measured: the score fitted on half 1 and tested on half 2, the survey's claims, figures.

Run by ``python tests/benchmarks/conflicts.py report``.
"""

from __future__ import annotations

import csv
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from conflicts import CLAIMS, HALVES

from autotc.conflicts import predicted
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.interactions import Interaction
from autotc.report.figures import HeatmapCell, heatmap_png
from autotc.vocabulary import MODALITIES

RESULTS = Path(__file__).parent / "results"
VERDICTS = ("conflict", "neutral", "synergy")
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
        with_it = np.array([mechanism in row["mechanisms"] for row in rows])
        others = [row for row, inside in zip(rows, with_it, strict=True) if not inside]
        weights, _ = fit(others, names, kind, penalty)
        score = matrix(rows, names) @ weights
        total[with_it] += score[with_it] / score.std()
        times[with_it] += 1
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


@dataclass(frozen=True)
class Choice:
    """What was chosen inside half 1, and the score that it makes.

    Attributes:
        name: of the features, a key of SETS.
        kind: what the weights are fitted to, one of KINDS.
        penalty: of the fit, one of PENALTIES.
        weights: feature -> weight, to three digits.
        bias: of the logistic function, whole.
    """

    name: str
    kind: str
    penalty: float
    weights: Mapping[str, float]
    bias: float

    def odds(self, rows: Table) -> np.ndarray:
        """Log-odds of a conflict, one a row."""
        return odds(rows, tuple(self.weights), np.array(list(self.weights.values())), self.bias)

    def is_published(self) -> bool:
        """Whether autotc predicts with these weights."""
        return self.weights == predicted.WEIGHTS and float(f"{self.bias:.3g}") == predicted.BIAS


def report(measured: Sequence[tuple[str, Interaction]]) -> None:
    """Fit on half 1, test on half 2, look at the claims, and write all of it."""
    evaluator = BuiltinEvaluator()
    start = time.perf_counter()
    rows = with_features(evaluator, measured, DEFAULT)
    seconds = (time.perf_counter() - start) / len(rows)
    second_half = [entry for entry in measured if entry[0] == "half 2"]
    others = {n: with_features(evaluator, second_half, n) for n in SAMPLES if n != DEFAULT}
    lines = page(rows, others, seconds)
    (RESULTS / "conflicts.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    write_csv(rows)
    figures(rows)


def page(rows: Table, others: Mapping[int, Table], seconds: float) -> list[str]:
    """Lines of ``conflicts.md``.

    Args:
        rows: all stacks, described by the default number of samples.
        others: number of samples -> the stacks of half 2, described by as many.
        seconds: a prediction took.
    """
    halves = {half: [row for row in rows if row["group"] == f"half {half}"] for half in HALVES}
    choice, tried = choose(halves[1])
    if not choice.is_published():
        print("the weights in autotc/conflicts/predicted.py are others")
    return [
        "# Which stacks conflict on the embedded model",
        "",
        f"{len(rows)} stacks measured on the test split.",
        "",
        *counts(rows),
        "",
        "## Choice inside half 1",
        "",
        "Held out: pairs with a mechanism, by models that saw none of them.",
        "",
        *tried,
        "",
        f"Chosen: {choice.name}; {choice.kind}, penalty {choice.penalty:g}. `WEIGHTS = {dict(choice.weights)}`, "
        f"`BIAS = {choice.bias:.3g}`.",
        "",
        "## Test on half 2",
        "",
        *tested(choice, halves, others),
        "",
        f"{told(choice, halves[2])} {1000 * seconds:.0f} ms a stack, single stages being shared.",
        "",
        *claims(rows),
    ]


def counts(rows: Table) -> list[str]:
    """Verdicts of each group of stacks."""
    lines = ["| pairs | stacks | conflict | neutral | synergy |", "|---|---|---|---|---|"]
    for group in dict.fromkeys(row["group"] for row in rows):
        verdicts = [row["verdict"] for row in rows if row["group"] == group]
        numbers = " | ".join(str(verdicts.count(verdict)) for verdict in VERDICTS)
        label = group if group.startswith("half") else f"{group} (not in a half)"
        lines.append(f"| {label} | {len(verdicts)} | {numbers} |")
    return lines


def choose(rows: Table) -> tuple[Choice, list[str]]:
    """Features and fit with the best sum of AUROC and rank correlation, held out; and a table of all tried."""
    lines = ["| features | fitted to | penalty | AUROC | Spearman |", "|---|---|---|---|---|"]
    best: tuple[float, str, str, float] | None = None
    for (name, names), kind, penalty in itertools.product(SETS.items(), KINDS, PENALTIES):
        score = held_out(rows, names, kind, penalty)
        area, rank = auroc(rows, score), spearman(rows, score)
        lines.append(f"| {name} | {kind} | {penalty:g} | {area:.3f} | {rank:.3f} |")
        if best is None or area + rank > best[0] + 1e-9:
            best = (area + rank, name, kind, penalty)
    assert best is not None
    _, name, kind, penalty = best
    weights, bias = fit(rows, SETS[name], kind, penalty)
    rounded = {feature: float(f"{weight:.3g}") for feature, weight in zip(SETS[name], weights, strict=True)}
    return Choice(name, kind, penalty, rounded, bias), lines


def tested(choice: Choice, halves: Mapping[int, Table], others: Mapping[int, Table]) -> list[str]:
    """How well the chosen score, and others fitted in the same way, tell on half 2."""
    first, second = halves[1], halves[2]
    lines = ["| score | samples | AUROC | Spearman with what is lost |", "|---|---|---|---|"]
    lines.append(tested_line("**the score**", DEFAULT, second, choice.odds(second)))
    for modality in MODALITIES:
        rows = [row for row in second if row["modality"] == modality]
        lines.append(tested_line(f"the score, {modality}", DEFAULT, rows, choice.odds(rows)))
    for samples, rows in others.items():
        lines.append(tested_line("the score", samples, rows, choice.odds(rows)))
    for name, names in SETS.items():
        if name != choice.name:
            score = odds(second, names, *fit(first, names, choice.kind, choice.penalty))
            lines.append(tested_line(f"fitted on half 1: {name}", DEFAULT, second, score))
    for name in predicted.FEATURES:
        lines.append(tested_line(f"{name} alone", DEFAULT, second, np.array([row[name] for row in second])))
    return lines


def tested_line(label: str, samples: int, rows: Table, score: np.ndarray) -> str:
    values = interval(rows, score, auroc), interval(rows, score, spearman)
    shown = ["{:.3f} [{:.3f}, {:.3f}]".format(*value) for value in values]
    return f"| {label} | {samples} | " + " | ".join(shown) + " |"


def told(choice: Choice, rows: Table) -> str:
    """What the score says at its threshold, and what is so."""
    probability = 1 / (1 + np.exp(-choice.odds(rows)))
    above = probability > predicted.CONFLICT_THRESHOLD
    verdicts = [row["verdict"] for row, yes in zip(rows, above, strict=True) if yes]
    present = sum(row["conflict"] for row in rows)
    conflict, neutral, synergy = (verdicts.count(verdict) for verdict in VERDICTS)
    return (
        f"At the threshold {predicted.CONFLICT_THRESHOLD:g}: {conflict} of {present} conflicts are told; of "
        f"{len(verdicts)} stacks told to conflict {conflict} do, {neutral} are neutral and {synergy} are synergies."
    )


def write_csv(rows: Table) -> None:
    """All rows with what the score predicts of them."""
    described = [{**row, "predicted": predicted.score_of(row)} for row in rows]
    columns = [key for key in described[0] if key not in ("conflict", "mechanisms")]
    with (RESULTS / "conflicts.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        for row in described:
            writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()})


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
            unique = list(
                {
                    (row["first"], row["second"], row["keep_first"], row["keep_second"]): row
                    for row in rows
                    if row["modality"] == modality
                    and row["first"].split("[")[0] in firsts
                    and row["second"].split("[")[0] in seconds
                }.values()
            )
            if not unique:
                continue
            verdicts = [row["verdict"] for row in unique]
            counts = " | ".join(str(verdicts.count(v)) for v in VERDICTS)
            means = [f"{100 * np.mean([row[k] for row in unique]):+.1f}" for k in ("interaction", "additive")]
            lines.append(f"| {claim} | {modality} | {len(unique)} | {counts} | " + " | ".join(means) + " |")
    return lines
