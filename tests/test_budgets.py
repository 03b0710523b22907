"""Budgets that follow the sample: what they say, what is refused, and that fitting meets the mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotc.budgets import AdaptiveBudget
from autotc.errors import AutotcError, PolicyError
from autotc.export import ENGINES
from autotc.export.plan import plan_export
from autotc.mechanisms import target_count
from autotc.models import bind
from autotc.policy import Policy, adaptive_policy
from tests.runtime.helpers import model

FITTED = {"score": "variety", "spread": 0.5, "scores": [0.1, 0.2, 0.4], "centre": 0.5}


def policy(budget: object, **stage: Any) -> Policy:
    usual = {"modality": "image", "location": "projector", "mechanism": "divprune", "keep_ratio": 0.25}
    return Policy.model_validate({"stages": [{**usual, **stage, "budget": budget}]})


@pytest.mark.parametrize("keep", [0.1, 0.25, 0.5, 0.8])
@pytest.mark.parametrize("spread", [0.3, 1.0, -0.5])
@pytest.mark.parametrize("seed", range(3))
def test_the_mean_over_the_calibration_split_is_the_keep_ratio(keep: float, spread: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n0 = rng.integers(40, 900, 200)
    scores = np.round(rng.gamma(0.5, size=200) + n0 / 500, 2)  # skewed, with ties, and larger for longer items
    budget = AdaptiveBudget(spread=spread).fit(scores.tolist(), n0.tolist())
    ratios = [budget.ratio(keep, budget.level(score)) for score in scores]
    assert np.average(ratios, weights=n0) == pytest.approx(keep, abs=1e-6)
    counts = [target_count(ratio, int(n), int(n)) for ratio, n in zip(ratios, n0, strict=True)]
    assert abs(np.sum(counts) - keep * n0.sum()) <= 0.5 * len(n0)
    assert max(ratios) <= min(1.0, 2 * keep) + 1e-9
    assert min(ratios) >= -1e-9
    steps = np.diff([budget.ratio(keep, budget.level(score)) for score in np.linspace(scores.min(), scores.max(), 99)])
    assert (np.sign(spread) * steps >= -1e-12).all()
    assert np.ptp(ratios) > 0.3 * abs(spread) * min(keep, 1 - keep)


def test_ratios_by_hand() -> None:
    budget = AdaptiveBudget.model_validate(FITTED)
    levels = [budget.level(score) for score in (0.0, 0.1, 0.15, 0.2, 0.3, 0.4, 9.0)]
    assert levels == pytest.approx([-1, -1, -0.5, 0, 0.5, 1, 1])
    assert [budget.ratio(*at) for at in ((0.25, 1.0), (0.25, -1.0), (1.0, -1.0))] == [0.375, 0.125, 1.0]
    assert budget.lowest(0.75) == 0.625
    under = budget.model_copy(update={"most": 0.3})
    assert [under.ratio(0.25, 1.0), under.ratio(0.4, 1.0)] == pytest.approx([0.275, 0.4])
    # A schedule falls for every item, since it does for the mean.
    for level in np.linspace(-1, 1, 9):
        falling = [budget.ratio(keep, level) for keep in np.linspace(1, 0.01, 50)]
        assert (np.diff(falling) <= 1e-12).all()


@pytest.mark.parametrize(
    ("budget", "stage", "told"),
    [
        ("free", {}, "budget: 'free' given; adaptive, fixed"),
        ({"spread": 0}, {}, "budget.spread: 0 given"),
        ({"spread": 1.5}, {}, "spread"),
        ({"score": "none"}, {}, "score"),
        ({"score": "text_information"}, {}, "does not exist at the projector; it does at decoder"),
        ({"scores": [0.1, 0.2]}, {}, "budget.centre: missing"),
        ({"scores": [0.2, 0.1], "centre": 0.5}, {}, "budget.scores: they do not rise"),
        ({"scores": [0.2], "centre": 0.5}, {}, "budget.scores: 1 given; 2 to"),
        ({"scores": [0.1, "0.2"], "centre": 0.5}, {}, "number"),
        ({"slope": 1}, {}, "slope"),
        ("adaptive", {"mechanism": "trim", "params": {"adaptive": True}}, "beside params.adaptive of trim"),
        ("adaptive", {"location": "input", "mechanism": "downsample"}, "at the input there are no tokens"),
    ],
)
def test_bad_values_are_refused_in_one_line(budget: object, stage: dict[str, Any], told: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    usual = {"modality": "image", "location": "projector", "mechanism": "divprune", "keep_ratio": 0.25}
    file.write_text(str({"version": 1, "stages": [{**usual, **stage, "budget": budget}]}))
    with pytest.raises(AutotcError, match=r"stages\.0") as caught:
        Policy.load(file)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_holds_all_of_it() -> None:
    fitted = policy(FITTED)
    assert Policy.from_yaml(fitted.to_yaml()) == fitted
    assert fitted.adaptive
    assert policy("fixed") == policy(None)
    assert "budget" not in policy("fixed").to_yaml()
    assert policy("adaptive").stages[0].budget == AdaptiveBudget()
    assert fitted.content_hash() != policy(None).content_hash() != policy("adaptive").content_hash()
    assert fitted.label() == "image projector divprune 0.25 adaptive"
    many = policy(FITTED, location="decoder", mechanism="fastv", keep_ratio=None, layers={1: 0.5, 2: 0.25})
    assert Policy.from_yaml(many.to_yaml()) == many
    assert many.label().endswith("2:0.25 adaptive")


def test_what_is_not_fitted_is_refused_by_models_and_engines_refuse_both() -> None:
    bound = bind(model())
    with pytest.raises(PolicyError, match=r"stages\.0\.budget: adaptive given, and not fitted"):
        bound.validate(policy("adaptive"))
    bound.validate(policy(FITTED))
    plug_in = plan_export(policy(FITTED), ENGINES["vllm"], "Qwen2_5_VLForConditionalGeneration")
    assert "lays out a prompt before a picture" in plug_in.refused[0].reason
    evs = {"modality": "video", "mechanism": "evs", "keep_ratio": 0.5, "params": {"counting": "engine"}}
    built_in = plan_export(policy(FITTED, **evs), ENGINES["vllm-built-in"], "Qwen2_5_VLForConditionalGeneration")
    assert "every item by one rate" in built_in.refused[0].reason
    assert plan_export(policy(None, **evs), ENGINES["vllm-built-in"], "Qwen2_5_VLForConditionalGeneration").expressible


def test_scores_that_a_budget_reads_are_asked_for() -> None:
    stage = policy({"score": "text_information"}, location="decoder", layer=1).stages[0]
    assert (stage.build().needs, stage.build().read_offset) == (("text_attention",), -1)
    bound = bind(model())
    fitted = {**FITTED, "score": "text_information"}
    with pytest.raises(PolicyError, match=r"stages\.0\.layer: 0 given; divprune needs text_attention"):
        bound.validate(policy(fitted, location="decoder", layer=0))


def test_nothing_to_fit_is_told() -> None:
    with pytest.raises(PolicyError, match="the same of all 3 samples"):
        AdaptiveBudget().fit([0.5, 0.5, 0.5], [4, 5, 6])
    with pytest.raises(PolicyError, match="not fitted"):
        AdaptiveBudget().level(0.1)
    with pytest.raises(PolicyError, match="no stage whose budget can follow"):
        adaptive_policy(Policy(), AdaptiveBudget())
