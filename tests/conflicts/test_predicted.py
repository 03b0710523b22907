"""Features of stacks on reductions made by hand, and predictions on the embedded model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from autotc.conflicts import predicted
from autotc.conflicts.predicted import ConflictPredictor
from autotc.conflicts.trace import Reference, Trace, concentrated_loss, disagreement, redundancy, trace
from autotc.errors import PolicyError
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.mechanisms import Reduction
from autotc.policy import Policy, Stage

N = 8
REFERENCE = Reference(torch.eye(N)[None], torch.full((1, N), 1 / N), torch.tensor([[1.0, -1.0]]))


def selected(*tokens: int) -> Reduction:
    mask = torch.zeros(1, N, dtype=torch.bool)
    mask[0, list(tokens)] = True
    return Reduction.select(mask)


def merged(target: dict[int, int]) -> Reduction:
    """Every token stays, but those that flow into another; -1 drops."""
    into = torch.tensor([[target.get(i, i) for i in range(N)]])
    mask = into == torch.arange(N)
    return Reduction.merge(mask, into, torch.ones(1, N))


def seen(reduction: Reduction, logits: Tensor = REFERENCE.logits) -> Trace:
    return trace(reduction, [N], logits, REFERENCE)


def test_two_copies_of_a_ranking_are_redundant() -> None:
    first, copy = seen(selected(0, 1, 2, 3)), seen(selected(0, 1))
    assert redundancy(first, copy) == 1.0
    assert disagreement(seen(selected(0, 1)), copy) == 0.0


def test_the_opposite_ranking_is_the_opposite() -> None:
    first, opposite = seen(selected(0, 1, 2, 3)), seen(selected(4, 5, 6, 7))
    # Of 8 tokens both keep 4: by chance half would be shared, and none is.
    assert redundancy(first, opposite) == -1.0
    assert disagreement(first, opposite) == 2.0


def test_rankings_that_share_what_chance_would_are_unrelated() -> None:
    first, other = seen(selected(0, 1, 2, 3)), seen(selected(0, 1, 4, 5))
    assert redundancy(first, other) == pytest.approx(0.0)
    assert disagreement(first, other) == pytest.approx(1.0)


def test_a_merge_followed_by_a_drop_of_what_was_merged() -> None:
    first = merged({1: 0, 2: 0, 4: 3})  # survivors 0 (three tokens), 3 (two), 5, 6, 7
    dropped_large = first.then(Reduction.select(torch.tensor([[False, True, True, True, True]])))
    dropped_single = first.then(Reduction.select(torch.tensor([[True, True, False, False, False]])))
    assert concentrated_loss(seen(first), seen(dropped_large)) == pytest.approx(3 / 5)
    assert concentrated_loss(seen(first), seen(dropped_single)) == 0.0
    assert concentrated_loss(seen(selected(0, 1)), seen(selected(0))) == 0.0  # nothing was merged


def test_padding_is_neither_kept_nor_dropped() -> None:
    reduction = selected(4, 5)
    short = trace(reduction, [4], REFERENCE.logits, REFERENCE)  # tokens 4 to 7; the others are padding
    opposite = trace(selected(6, 7), [4], REFERENCE.logits, REFERENCE)
    assert short.lost[0].tolist() == [*[False] * 6, True, True]
    assert redundancy(short, opposite) == -1.0
    assert disagreement(short, opposite) == 2.0


def test_what_a_trace_says() -> None:
    found = seen(merged({1: 0, 7: -1}))
    assert found.kept[0].tolist() == [True, False, *[True] * 5, False]
    assert found.lost[0].tolist() == [*[False] * 7, True]
    assert found.merged[0].tolist() == [True, True, *[False] * 6]
    # Half of two tokens' attention is diluted, one token's is lost.
    assert found.damage["importance"] == pytest.approx(2 / 8)
    # The tokens are orthogonal: the lost one is at distance 1, the two that merged at 1 - cos 45 degrees.
    assert found.damage["coverage"] == pytest.approx((1 + 2 * (1 - 0.5**0.5)) / 8)
    assert found.damage["shift"] == found.damage["answer"] == 0.0
    assert seen(selected(*range(N)), -REFERENCE.logits).damage["shift"] == pytest.approx(2.0)


@pytest.fixture(scope="module")
def predictor() -> ConflictPredictor:
    return ConflictPredictor(BuiltinEvaluator())


def stage(mechanism: str, keep: float, location: Any = "projector", layer: int | None = None) -> Stage:
    return Stage(modality="image", location=location, layer=layer, mechanism=mechanism, keep_ratio=keep)


def test_a_bad_first_stage_scores_higher_than_a_good_one(predictor: ConflictPredictor) -> None:
    cdpruner = stage("cdpruner", 0.25)
    # Merging in the tower loses the small digits that the query stage alone would keep; a later stage that reads the
    # text saves a blind one from going as far. Measured: -42 and +24 points.
    bad = predictor.predict(Policy(stages=(stage("tome", 0.5, "encoder", 1), cdpruner)))
    good = predictor.predict(Policy(stages=(stage("uniform_stride", 0.7), stage("rep_shift", 0.15, "decoder", 2))))
    assert 0 <= good.score < predicted.CONFLICT_THRESHOLD < bad.score <= 1
    assert bad.features["concentrated"] > 0.1
    assert "of the tokens that the first had merged" in bad.reason
    assert set(bad.features) == set(predicted.FEATURES)
    assert predictor.predict(Policy(stages=(stage("tome", 0.5, "encoder", 1), cdpruner))) == bad


def test_a_policy_without_a_stack_has_no_conflict(predictor: ConflictPredictor) -> None:
    assert predictor.predict(Policy(stages=(stage("divprune", 0.5),))).score == 0.0
    assert predictor.predict(Policy()).score == 0.0


def test_the_worst_modality_counts(predictor: ConflictPredictor) -> None:
    image = [stage("tome", 0.5, "encoder", 1), stage("cdpruner", 0.25)]
    audio = [
        s.model_copy(update={"modality": "audio"}) for s in (stage("divprune", 0.9), stage("fastv", 0.8, "decoder", 2))
    ]
    alone = [predictor.predict(Policy.of(stages)).score for stages in (image, audio)]
    assert predictor.predict(Policy.of([*image, *audio])).score == max(alone)


def test_three_stages_and_an_input_stage_are_predicted(predictor: ConflictPredictor) -> None:
    deep = Stage(modality="image", location="decoder", mechanism="fastv", layers={2: 0.3, 4: 0.1})
    three = predictor.predict(
        Policy(stages=(stage("received_attention", 0.8, "encoder", 1), stage("divprune", 0.5), deep))
    )
    resized = predictor.predict(Policy(stages=(stage("downsample", 0.5, "input"), stage("divprune", 0.25))))
    assert 0 <= three.score <= 1
    assert resized.features["coverage"] == 0.0  # other tokens altogether
    assert resized.features["shift"] != 0.0


def test_a_stage_that_sets_its_own_count_is_refused(predictor: ConflictPredictor) -> None:
    adaptive = Stage(
        modality="image", location="projector", mechanism="trim", keep_ratio=0.5, params={"adaptive": True}
    )
    with pytest.raises(PolicyError, match="sets its own count"):
        predictor.predict(Policy(stages=(adaptive, stage("fastv", 0.1, "decoder", 2))))


def test_more_samples_than_the_split_holds_are_all_of_it(predictor: ConflictPredictor) -> None:
    evaluator = predictor.calibration.evaluator
    stack = Policy(stages=(stage("divprune", 0.5), stage("fastv", 0.1, "decoder", 2)))
    some, more = (ConflictPredictor(evaluator, samples).predict(stack) for samples in (200, 1000))
    assert some.features == more.features
