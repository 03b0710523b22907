"""Fixed against adaptive budgets of one mean, paired, on the embedded model; writes ``results/budgets.md``.

Budgets are fitted on all samples of the search split that hold the modality alone, and both forms run on all such
samples of the test split: a mean that is met on one kind of sample is not met on another. Differences are adaptive less
fixed, with a paired 95% interval.

    python tests/benchmarks/budgets.py
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from autotc.budgets import AdaptiveBudget
from autotc.evaluate.budgets import fit_budgets
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.evaluate.samples import Sample
from autotc.policy import Policy, Stage, adaptive_policy
from autotc.statistics import paired_difference
from autotc.vocabulary import ITEM_SCORES, Group, ItemScore, Modality, Split

OUT = Path(__file__).parent / "results" / "budgets.md"
PLACES: tuple[tuple[str, str, int | None], ...] = (
    ("divprune", "projector", None),
    ("cls_attention", "projector", None),
    ("fastv", "decoder", 2),
)
KEEPS = (0.5, 0.25, 0.1)
MODALITIES: tuple[Modality, ...] = ("image", "video")
ALL = 10_000
"""More samples than the search split holds of a modality."""
HEAD = """# Fixed and adaptive budgets of one mean

<!-- made by `python tests/benchmarks/budgets.py` -->

Tokens: mean of an item at the last layer, fixed and adaptive. FLOPs ratio: the same, then of the adaptive form's single
samples the lowest, the 10% and the 90% one. Accuracy: of the fixed budget, and the difference that the adaptive one
makes, paired over 600 test samples, with its 95% interval; the last column is the same of the log-probability.

| modality | stage | keep | score | tokens | FLOPs ratio | single samples | fixed | difference | log-probability |
|---|---|---|---|---|---|---|---|---|---|
"""


class Pure(BuiltinEvaluator):
    """The embedded samples that hold one modality."""

    def samples(self, split: Split) -> Sequence[Sample]:
        return [sample for sample in super().samples(split) if Group(sample.group).is_pure]


def rows(evaluator: BuiltinEvaluator) -> Iterator[list[str]]:
    """The table, row by row."""
    for modality in MODALITIES:
        for mechanism, location, layer in PLACES:
            usual = {"modality": modality, "location": location, "layer": layer, "mechanism": mechanism}
            stage = Stage.model_validate({**usual, "keep_ratio": 0.5})
            for score in ITEM_SCORES:
                if score == "text_information" and location != "decoder":
                    continue
                # What is fitted does not hang on the keep ratio.
                policy = adaptive_policy(Policy(stages=(stage,)), AdaptiveBudget(score=score))
                (fitted,) = fit_budgets(policy, evaluator, samples=ALL).stages
                for keep in KEEPS:
                    pair = [Policy(stages=(s.model_copy(update={"keep_ratio": keep}),)) for s in (stage, fitted)]
                    yield _row(evaluator, (pair[0], pair[1]), modality, score)


def _row(evaluator: BuiltinEvaluator, pair: tuple[Policy, Policy], modality: Modality, score: ItemScore) -> list[str]:
    """One comparison."""
    stage = pair[0].stages[0]
    fixed, adaptive = (evaluator.run(policy, "test", groups=[modality]) for policy in pair)
    usual, cost = (evaluator.cost(policy, "test", groups=[modality]) for policy in pair)
    assert cost.flops_spread is not None  # always measured here
    low, tenth, _, most, _ = cost.flops_spread
    better = paired_difference(adaptive.correct - fixed.correct).interval()
    change = adaptive.log_probabilities - fixed.log_probabilities
    error = 1.96 * float(change.std(ddof=1)) / np.sqrt(len(change))
    return [
        modality,
        f"{stage.mechanism} {stage.location}",
        f"{stage.final_ratio:g}",
        score,
        f"{usual.tokens[modality]:.1f}, {cost.tokens[modality]:.1f}",
        f"{usual.flops_ratio:.3f}, {cost.flops_ratio:.3f}",
        f"{low:.3f}, {tenth:.3f}, {most:.3f}",
        f"{fixed.correct.mean():.3f}",
        f"{better.mean:+.3f} [{better.low:+.3f}, {better.high:+.3f}]",
        f"{change.mean():+.3f} [{change.mean() - error:+.3f}, {change.mean() + error:+.3f}]",
    ]


if __name__ == "__main__":
    lines = ["| " + " | ".join(row) + " |\n" for row in rows(Pure())]
    OUT.write_text(HEAD + "".join(lines), encoding="utf-8")
