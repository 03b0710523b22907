"""Predicted conflicts: what a few forwards on calibration samples say of a stack, without an evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping

from autotc.conflicts.calibration import SAMPLES, SPLIT, Calibration
from autotc.conflicts.equal_cost import flops_ratio, stage_at_cost, with_final_ratio
from autotc.conflicts.trace import concentrated_loss, covered, disagreement, redundancy
from autotc.errors import PolicyError
from autotc.evaluate.base import ObservableEvaluator
from autotc.policy import Policy, Stage
from autotc.records.interaction import Prediction
from autotc.vocabulary import MODALITIES

FEATURES = ("shift", "answer", "importance", "coverage", "concentrated", "disagreement", "redundancy", "input")
"""Names of the features, in the order in which they are reported."""
WEIGHTS: dict[str, float] = {"shift": 18.6, "answer": 8.22}
"""Log-odds of a conflict for a unit of a feature, fitted on half of the mechanisms by tests/benchmarks/conflicts.py."""
BIAS = -0.742
"""Log-odds where all features are 0."""
CONFLICT_THRESHOLD = 0.5
"""Scores above it say conflict."""
_WORDS: dict[str, tuple[str, str, str]] = {
    "shift": ("moves the logits after the prompt {:.3f} of their size", "further", "less far"),
    "answer": ("moves {:.3f} of the answer's probability", "more", "less"),
    "importance": ("loses {:.3f} of the attention", "more", "less"),
    "coverage": ("leaves tokens {:.4f} from their nearest survivor", "further", "less far"),
    "input": ("leaves {:.3f} of the input without a survivor", "more", "less"),
}


class ConflictPredictor:
    """Predicts whether a stack does worse than the better of its stages alone at the same cost.

    A few forwards on the first samples of the search split, without their answers; single stages are kept for the next
    stack.

    Args:
        evaluator: model and samples.
        samples: calibration samples of each modality.
    """

    def __init__(self, evaluator: ObservableEvaluator, samples: int = SAMPLES) -> None:
        self.calibration = Calibration(evaluator, samples)

    @property
    def forwards(self) -> int:
        """Calibration samples that were run so far, each under one policy."""
        return self.calibration.forwards

    def predict(self, stack: Policy) -> Prediction:
        """What is expected of a stack.

        Where a policy stacks stages on several modalities, the worst of them counts; where it stacks none, the score
        is 0.

        Args:
            stack: a policy that fits the model and that no rule refuses.

        Raises:
            AutotcError: the policy does not fit the model, sets its own counts, or no sample holds its modality.
        """
        if stack.adaptive:
            raise PolicyError("stages: one sets its own count, so that no stage can be given the stack's cost")
        predictions = []
        for modality in MODALITIES:
            stages = stack.modality(modality)
            if len(stages) > 1:
                values = self.features(stages)
                predictions.append(Prediction(score_of(values), values, words(values)))
        nothing = Prediction(0.0, dict.fromkeys(FEATURES, 0.0), "no modality has two stages")
        return max(predictions, key=lambda prediction: prediction.score, default=nothing)

    def features(self, stages: tuple[Stage, ...]) -> dict[str, float]:
        """What the score is made of: a stack of stages of one modality against its stages alone.

        ``shift``, ``answer``, ``importance`` and ``coverage`` are the stack's damage (`Trace`) less that of the better
        stage alone at the stack's cost. The others look at what is dropped: ``concentrated`` (`concentrated_loss`),
        ``disagreement`` and ``redundancy`` as their functions say, and ``input``, the share of the item's tokens that
        no survivor stands for, less that of the better stage alone at the stack's count. Where an input stage changes
        the grid, what compares tokens is 0.
        """
        calibration, modality = self.calibration, stages[0].modality
        evaluator, group = calibration.evaluator, calibration.group(modality)
        stack, last = Policy(stages=stages), stages[-1]
        both = calibration.trace(stack, modality)
        target = flops_ratio(evaluator, stack, SPLIT, group)
        moved = [stage_at_cost(evaluator, stage, target, SPLIT, group) for stage in stages]
        alone = [calibration.trace(at_cost.policy, modality).damage for at_cost in moved if at_cost.reached]
        out = dict.fromkeys(FEATURES, 0.0)
        for name, value in both.damage.items():
            out[name] = value - min((one[name] for one in alone if name in one), default=value)
        first = calibration.trace(Policy(stages=stages[:-1]), modality)
        second = calibration.trace(Policy(stages=(last,)), modality)
        # The first stage at the ratio of the last: two rankings that keep equally many.
        level = calibration.trace(Policy(stages=(with_final_ratio(stages[0], last.final_ratio),)), modality)
        if first.kept.shape == both.kept.shape == second.kept.shape == level.kept.shape:
            out["concentrated"] = concentrated_loss(first, both)
            out["redundancy"] = redundancy(first, second)
            out["disagreement"] = disagreement(level, second)
            out["input"] = max(covered(level), covered(second)) - covered(both)
        return out


def score_of(values: Mapping[str, float]) -> float:
    """The score of features: a logistic function of a weighted sum."""
    odds = BIAS + sum(weight * values[name] for name, weight in WEIGHTS.items())
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, odds))))


def words(values: Mapping[str, float]) -> str:
    """What features say, those that count most first."""
    parts = []
    for name in sorted(WEIGHTS, key=lambda name: -abs(WEIGHTS[name] * values[name])):
        if name in _WORDS:
            text, more, less = _WORDS[name]
            parts.append(f"{text.format(abs(values[name]))} {more if values[name] > 0 else less}")
    out = [f"the stack {' and '.join(parts)} than the better stage alone at its cost"]
    if values["concentrated"] > 0:
        out.append(f"the second drops {values['concentrated']:.0%} of the tokens that the first had merged")
    if values["redundancy"] > 0.5:
        out.append("the second alone would drop much the same tokens as the first")
    if values["disagreement"] >= 1:
        out.append("the two agree on the best tokens no more than by chance")
    return "; ".join(out)
