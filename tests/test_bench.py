"""What `autotc bench` measures fits together: no time is asserted, only how the numbers hang together."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import autotc
from autotc.bench import Requests, bench, measure_cases, prefill_flops, synthetic_cases
from autotc.cost import prefill_cost, request_shapes
from autotc.errors import PolicyError, UnsupportedModelError
from autotc.mechanisms import target_count
from autotc.models import bind, bind_config
from autotc.models.published import PUBLISHED, published_config
from autotc.models.synthetic import random_model, random_request
from autotc.policy import Policy, Stage
from autotc.statistics import median_ratio_interval
from autotc.timing import prefill

from .models.families import FAMILIES
from .models.test_exactness import SDPA

POLICY = Policy.of(
    [
        Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.5),
        Stage(modality="image", location="decoder", layer=2, mechanism="fastv", keep_ratio=0.25),
    ]
)


def test_rows_hold_together() -> None:
    model = FAMILIES["qwen2_5_vl"].build()
    cases = synthetic_cases(model, POLICY, Requests([36, 100], [1, 2]))
    done: list[int] = []
    rows = measure_cases(model, POLICY, cases, repeats=2, new_tokens=3, progress=lambda n, total: done.append(n))
    assert done == [*range(1, 4 * 12 + 1)]  # of each case two pairs that count and one that warms up, twice
    assert [(row.case, row.batch) for row in rows] == [(f"image {n}", b) for n in (36, 100) for b in (1, 2)]
    bound = bind(model)
    for row, case in zip(rows, cases, strict=True):
        shapes = request_shapes(bound, case.baseline)
        for side, policy in ((row.policy, POLICY), (row.baseline, Policy())):
            predicted = prefill_cost(bound, policy, shapes)
            assert side.layer_tokens == predicted.lengths
            assert side.kv_bytes == predicted.kv_bytes
            assert min(side.prefill_ms, side.first_token_ms, side.output_token_ms) > 0
            assert side.peak_bytes >= 0
        assert row.predicted_speedup == row.baseline.flops / row.policy.flops > 1
        assert row.realised == pytest.approx((row.speedup[0] - 1) / (row.predicted_speedup - 1))
        assert row.scoring_ms > 0
        count = int(case.inputs["image_grid_thw"][0].prod()) // 4
        assert [stage["realised"] for stage in row.stages] == [[round(k * count)] * row.batch for k in (0.5, 0.25)]
        data = row.to_json()
        assert data["speedup"] == row.speedup[0]
        assert data["baseline_prefill_ms"] == row.baseline.prefill_ms
        assert {"prefill_ms", "predicted_speedup", "realised", "peak_bytes", "kv_bytes"} <= set(data)


def test_predicted_prefill_is_what_the_profiler_counts() -> None:
    """The head scores the last position alone, as in generate()."""
    from torch.utils.flop_counter import FlopCounterMode

    model = FAMILIES["llava"].build()
    (case,) = synthetic_cases(model, POLICY, Requests([100], [2]))
    shapes = request_shapes(bind(model), case.inputs)
    cost = prefill_cost(bind(model), Policy(), shapes)
    counter = FlopCounterMode(display=False, custom_mapping=SDPA)
    with counter:
        prefill(model, case.inputs)
    assert prefill_flops(cost, 2, cost.lengths[-1]) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_policy_without_stages_gains_nothing() -> None:
    model = FAMILIES["llava"].build()
    measured = bench(Policy(), model=model, requests=Requests([25]), repeats=1, new_tokens=2)
    (row,) = measured.rows
    assert measured.to_json()["prefill_ms"] == row.policy.prefill_ms
    assert row.predicted_speedup == 1.0
    assert row.realised is None
    assert row.stages == ()


def test_input_stages_need_real_requests() -> None:
    model = FAMILIES["qwen2_5_vl"].build()
    policy = Policy.of([Stage(modality="image", location="input", mechanism="downsample", keep_ratio=0.5)])
    with pytest.raises(PolicyError, match="input stages act before"):
        synthetic_cases(model, policy, Requests([36]))


def test_ratios_of_pairs() -> None:
    assert median_ratio_interval([1.0, 2.0, 4.0], [2.0, 4.0, 8.0]) == (2.0, 2.0, 2.0)
    middle, low, high = median_ratio_interval([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert low <= middle == 3.0 <= high


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_random_requests_run_under_a_policy(name: str) -> None:
    """Random media of every modality: as many tokens as asked for, within the family's sizes, and finite logits."""
    model: Any = FAMILIES[name].build()
    bound = bind(model)
    for modality in bound.offers:
        request = random_request(model, {modality: 120}, text=5, batch=2)
        shapes = request_shapes(bound, request)
        counts = [sum(item.count for item in shape.items) for shape in shapes]
        assert counts[0] == counts[1]
        assert 80 <= counts[0] <= 160
        assert shapes[0].query >= 5
        policy = Policy.of([Stage(modality=modality, location="projector", mechanism="divprune", keep_ratio=0.5)])
        with autotc.apply(model, policy) as handle, torch.no_grad():
            assert torch.isfinite(model(**request).logits).all()
        items = [item for shape in shapes for item in shape.items]
        assert handle.stats[-1][0].realised == [target_count(0.5, item.n0, item.count) for item in items]


def test_random_weights_in_half_precision() -> None:
    config = FAMILIES["qwen2_5_vl"].build().config
    config.architectures = ["Qwen2_5_VLForConditionalGeneration"]
    model = random_model(config, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert torch.isfinite(prefill(model, random_request(model, {"image": 64})).logits).all()
    usual = FAMILIES["qwen2_5_vl"].build()
    for (name, mine), (_, theirs) in zip(model.named_buffers(), usual.named_buffers(), strict=True):
        torch.testing.assert_close(mine.float(), theirs.float(), msg=name)
    again = random_model(config, dtype=torch.bfloat16)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    config.architectures = ["NoSuchModel"]
    with pytest.raises(UnsupportedModelError, match="transformers has no such class"):
        random_model(config)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_shapes(name: str) -> None:
    """Every shape that is known by name has an adapter that understands it."""
    config = published_config(name)
    bound = bind_config(config, PUBLISHED[name][0])
    depths = bound.depths
    assert depths.decoder == config.get_text_config().num_hidden_layers
    for modality, places in bound.offers.items():
        media = bound.random_media(modality, 300, torch.Generator())
        items = bound.geometry(modality, media.inputs)
        assert media.ids.count(bound.placeholders[modality]) == sum(item.slots for item in items)
        assert "decoder" in places
