"""Budgets that follow the item, at run time: each item its own, the same alone and in a batch, removal exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import autotc
from autotc.budgets import AdaptiveBudget
from autotc.mechanisms import Tokens, item_score
from autotc.policy import Policy, Stage
from autotc.runtime.apply import Handle
from tests.runtime.helpers import Media, embeddings, masked_logits, model, request
from tests.runtime.test_exactness import hidden_from

PLACES: list[tuple[str, str, int | None, str]] = [
    ("projector", "divprune", None, "variety"),
    ("projector", "divprune", None, "text_entropy"),
    ("projector", "divprune", None, "attention_entropy"),
    ("decoder", "fastv", 2, "text_information"),
    ("decoder", "fastv", 2, "attention_entropy"),
    ("encoder", "random", 1, "variety"),
    ("encoder", "random", 1, "attention_entropy"),
]


def flat(seed: int, side: int, share: float) -> Media:
    """A picture of which a share is noise, the rest one colour."""
    rng = np.random.default_rng(seed)
    picture = np.full((side, side, 3), 90, np.uint8)
    picture[: int(side * share)] = rng.integers(0, 255, (int(side * share), side, 3), dtype=np.uint8)
    return {"images": picture}


ROWS = [flat(1, 128, 0.1), flat(2, 96, 1.0), {}, flat(3, 128, 0.6), flat(4, 64, 0.3)]


def run(policy: Policy, inputs: Any) -> tuple[torch.Tensor, Handle]:
    with autotc.apply(model(), policy) as handle, torch.no_grad():
        return model()(**inputs).logits, handle


def fitted(location: str, mechanism: str, layer: int | None, score: str, **stage: Any) -> Policy:
    """A policy at a place, its budget fitted to the rows by hand."""
    seen: list[float] = []
    n0: list[int] = []

    def build(budget: AdaptiveBudget, **more: Any) -> Policy:
        usual = {"modality": "image", "location": location, "mechanism": mechanism, "layer": layer, "keep_ratio": 0.5}
        return Policy(stages=(Stage.model_validate({**usual, **more, "budget": budget}),))

    probe = AdaptiveBudget.model_validate({"score": score, "scores": [0, 1], "centre": 0.5, "spread": 0.9})

    def look(observed: Any) -> None:
        seen.extend(item_score(probe.score, observed_at, observed.tokens, observed.scores).tolist())
        n0.extend(observed.requested)

    observed_at: Any = location
    with autotc.apply(model(), build(probe, keep_ratio=1.0), look), torch.no_grad():
        model()(**request(ROWS))
    return build(probe.fit(seen, n0), **stage)


@pytest.mark.parametrize(("location", "mechanism", "layer", "score"), PLACES)
def test_each_item_has_its_own_budget_alone_and_in_a_batch(
    location: str, mechanism: str, layer: int | None, score: str
) -> None:
    policy = fitted(location, mechanism, layer, score)
    _, handle = run(policy, request(ROWS))
    (stats,) = handle.stats[0]
    shares = [n / item.n0 for n, item in zip(stats.realised, handle.last["image"].items, strict=True)]
    assert max(shares) - min(shares) > 0.2, "contents differ, and so do budgets"
    whole = sum(item.n0 for item in handle.last["image"].items)
    assert abs(sum(stats.realised) - 0.5 * whole) <= 0.5 * len(shares)
    assert stats.realised == stats.requested
    again = run(policy, request(ROWS))[1].stats[0][0].realised
    alone = [run(policy, request([row]))[1].stats[0][0].realised[0] for row in ROWS if row]
    assert again == stats.realised
    assert alone == stats.realised


@pytest.mark.parametrize(("location", "mechanism", "layer", "score"), PLACES[:5])
def test_removing_equals_masking(location: str, mechanism: str, layer: int | None, score: str) -> None:
    policy, inputs = fitted(location, mechanism, layer, score), request(ROWS)
    got, handle = run(policy, inputs)
    gone = hidden_from(handle, inputs, layer or 0)
    assert bool((gone < 99).any())
    pad = ~inputs["attention_mask"].bool()
    expected = masked_logits(*embeddings(inputs), gone, pad)
    for row in range(len(ROWS)):
        kept = ((gone[row] == 99) & ~pad[row]).nonzero()[:, 0]
        torch.testing.assert_close(got[row, -len(kept) :], expected[row, kept], atol=1e-5, rtol=0)


def test_a_schedule_scores_an_item_once() -> None:
    steps = {"layer": None, "keep_ratio": None, "layers": {1: 0.6, 2: 0.3, 3: 0.1}}
    policy = Policy.model_validate(
        {"stages": [{**fitted("decoder", "fastv", 1, "text_information").stages[0].model_dump(), **steps}]}
    )
    budget = policy.stages[0].budget
    assert budget is not None
    _, handle = run(policy, request(ROWS))
    first, second, third = handle.stats[0]
    (levels,) = handle.last["image"].levels.values()
    for stats, keep in ((first, 0.6), (second, 0.3), (third, 0.1)):
        wanted = [
            budget.ratio(keep, level) * item.n0 for level, item in zip(levels, handle.last["image"].items, strict=True)
        ]
        assert stats.realised == [max(1, int(n + 0.5 + 1e-9)) for n in wanted]


def test_item_scores_by_hand() -> None:
    valid = torch.tensor([[False, True, True, True], [True, True, True, True]])
    features = torch.tensor([[[9.0, 9], [2, 0], [0, 1], [3, 0]], [[1, 1], [2, 2], [3, 3], [4, 4]]])
    empty = torch.zeros(2, 4, 6)
    tokens = Tokens(features, valid, empty[..., :3].long(), empty, valid.float())
    # Three tokens of which two are alike: of three pairs one has cosine 1.
    variety = item_score("variety", "projector", tokens, {})
    torch.testing.assert_close(variety, torch.tensor([2 / 3, 0.0]), atol=1e-6, rtol=0)
    shares = torch.tensor([[5.0, 0.2, 0.0, 0.2], [1.0, 1.0, 1.0, 1.0]])
    entropy = item_score("attention_entropy", "projector", tokens, {"cls_attention": shares})
    torch.testing.assert_close(entropy, torch.tensor([np.log(2) / np.log(3), 1.0], dtype=torch.float32))
    cosine = torch.tensor([[7.0, 0.0, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0]])
    p = np.exp([0.0, 1.0, 0.0]) / np.exp([0.0, 1.0, 0.0]).sum()
    wanted = -(p * np.log(p)).sum() / np.log(3)
    got = item_score("text_entropy", "decoder", tokens, {"text_similarity": cosine})
    torch.testing.assert_close(got, torch.tensor([wanted, 1.0], dtype=torch.float32))
    # Two text tokens (the first column pads) that look at one token each: 1 bit; at all alike: none.
    attention = torch.zeros(2, 4, 3)
    attention[0, 1, 1] = attention[0, 2, 2] = 1.0
    attention[1, :, 1:] = 0.25
    information = item_score("text_information", "decoder", tokens, {"text_attention": attention})
    torch.testing.assert_close(information, torch.tensor([1.0, 0.0]))
