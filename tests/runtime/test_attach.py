"""Attaching leaves nothing behind; what cannot be done is refused clearly."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import autotc
from autotc.errors import AutotcError, InputsError, MechanismError, PolicyError, UnsupportedModelError
from autotc.mechanisms import MECHANISMS
from autotc.policy import ModelReference, Policy, Stage
from autotc.runtime.cache import CACHE
from autotc.tiny.config import build_model
from tests.runtime.helpers import media, model, processor, request, single, snapshot

FULL = Policy.of(
    [
        Stage(modality="image", location="encoder", layer=0, mechanism="tome", keep_ratio=0.7),
        Stage(modality="image", location="projector", mechanism="visionzip", keep_ratio=0.4),
        Stage(modality="video", location="decoder", mechanism="pyramiddrop", layers={1: 0.6, 3: 0.3}),
        Stage(modality="audio", location="decoder", mechanism="fastv", layer=2, keep_ratio=0.5),
    ]
)


@pytest.mark.parametrize("used", [False, True])
def test_everything_is_restored(used: bool) -> None:
    m = build_model(seed=5).eval()
    inputs = request([media(1, image=64), media(2, video=4, audio=1.0)])
    if used:
        with torch.no_grad():
            m(**inputs, output_hidden_states=True)
    before = snapshot(m)
    handle = autotc.apply(m, FULL)
    assert snapshot(m) != before
    handle.remove()
    handle.remove()
    assert snapshot(m) == before
    if not used:
        return
    with torch.no_grad():
        plain = m(**inputs).logits
        with autotc.apply(m, FULL):
            m(**inputs)
            m.generate(**inputs, max_new_tokens=2)
        assert snapshot(m) == before
        m.generate(**inputs, max_new_tokens=2)
        assert torch.equal(m(**inputs).logits, plain)


def test_restored_after_an_exception_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    m = model()
    inputs = request([media(1, image=64)])
    with torch.no_grad():
        plain = m(**inputs).logits
    before = snapshot(m)

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(MECHANISMS["divprune"], "reduce", fail)
    policy = single("image", "projector", "divprune", 0.5)
    with pytest.raises(MechanismError, match="divprune: RuntimeError: out of order"), autotc.apply(m, policy):
        m.generate(**inputs, max_new_tokens=2)
    assert snapshot(m) == before
    with torch.no_grad():
        assert torch.equal(m(**inputs).logits, plain)


def test_two_policies_one_after_the_other_but_not_at_once() -> None:
    m = model()
    policy = single("image", "projector", "random", 0.5)
    with autotc.apply(m, policy), pytest.raises(PolicyError, match="already applied"):
        autotc.apply(m, FULL)
    with autotc.apply(m, FULL):
        pass


def test_text_only_rows_are_untouched() -> None:
    m = model()
    inputs = request([{}, {}])
    with torch.no_grad():
        plain = m(**inputs).logits
        with autotc.apply(m, FULL):
            assert torch.equal(m(**inputs).logits, plain)


def test_small_items_pass_untouched_and_are_counted() -> None:
    inputs = request([media(1, image=128), media(2, image=32)])
    policy = single("image", "projector", "random", 1 / 64)
    policy = Policy.of([policy.stages[0].model_copy(update={"keep_ratio": 0.3})])
    with autotc.apply(model(), policy) as handle, torch.no_grad():
        model()(**inputs)
    (stats,) = handle.stats[0]
    assert stats.requested == [19, 1]
    assert stats.realised == [19, 1]
    assert stats.untouched == 0
    one = request([media(3, image=16), media(1, image=128)])
    with autotc.apply(model(), policy) as handle, torch.no_grad():
        model()(**one)
    (stats,) = handle.stats[0]
    assert stats.realised[0] == min(stats.requested[0], handle.last["image"].items[0].count)


def test_input_stage_needs_prepared_inputs() -> None:
    policy = single("image", "input", "downsample", 0.5)
    inputs = request([media(1, image=128)])
    with pytest.raises(InputsError, match=r"autotc\.configure"), autotc.apply(model(), policy), torch.no_grad():
        model()(**inputs)
    prepared = request([media(1, image=128)], call=autotc.configure(processor(), policy))
    assert prepared["image_grid_thw"].prod() < inputs["image_grid_thw"].prod()
    with autotc.apply(model(), policy) as handle, torch.no_grad():
        model()(**prepared)
    item = handle.last["image"].items[0]
    assert item.n0 == 64
    assert abs(item.count - 32) <= 8


def test_projector_stage_after_input_stage_counts_from_the_uncompressed_item() -> None:
    policy = Policy.of(
        [
            Stage(modality="image", location="input", mechanism="downsample", keep_ratio=0.5),
            Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.25),
        ]
    )
    prepared = request([media(1, image=128)], call=autotc.configure(processor(), policy))
    with autotc.apply(model(), policy) as handle, torch.no_grad():
        model()(**prepared)
    assert [stage.realised for stage in handle.stats[0]] == [[30], [16]]  # ratios are of 64


def test_refusals() -> None:
    m = model()
    other = Policy(model=ModelReference(architecture="LlavaForConditionalGeneration"))
    with pytest.raises(PolicyError, match="for LlavaForConditionalGeneration"):
        autotc.apply(m, other)
    wrong = Policy(model=ModelReference(architecture=type(m).__name__, fingerprint="sha256:0"))
    with pytest.raises(PolicyError, match="fingerprint"):
        autotc.apply(m, wrong)
    with pytest.raises(PolicyError, match="layers 0 to 5"):
        autotc.apply(m, single("image", "decoder", "fastv", 0.5, 6))
    with pytest.raises(PolicyError, match="layers 0 to 2"):
        autotc.apply(m, single("image", "encoder", "random", 0.5, 3))
    with pytest.raises(PolicyError, match="layer before"):
        autotc.apply(m, single("image", "decoder", "fastv", 0.5, 0))
    with pytest.raises(UnsupportedModelError, match=r"supported: Llava.*Qwen2_5Omni"):
        autotc.apply(torch.nn.Linear(2, 2), FULL)
    with pytest.raises(PolicyError, match="no such file"):
        autotc.apply(m, "nowhere.yaml")
    with autotc.apply(m, FULL) as handle:
        with pytest.raises(AutotcError, match="cannot be pickled"):
            pickle.dumps(handle)
        for copying in (pickle.dumps, copy.deepcopy):
            with pytest.raises(AutotcError, match="a model under a policy cannot be pickled or copied"):
                copying(handle.model)
        with pytest.raises(AutotcError, match="cannot be pickled"):
            copy.copy(handle)


def test_cache_of_another_life_is_refused() -> None:
    m = model()
    inputs = request([media(1, image=64)])
    with torch.no_grad():
        out = m(**inputs, use_cache=True)
        with autotc.apply(m, FULL), pytest.raises(InputsError, match="without this policy"):
            m(input_ids=torch.tensor([[12]]), **{CACHE: out[CACHE]})


def test_static_cache_is_refused() -> None:
    inputs = request([media(1, image=64)])
    policy = single("image", "decoder", "fastv", 0.5, 2)
    with autotc.apply(model(), policy), pytest.raises(InputsError, match="static cache"):
        model().generate(**inputs, max_new_tokens=2, cache_implementation="static")


def test_spans_that_do_not_match_are_refused() -> None:
    inputs = request([media(1, image=64)])
    inputs["input_ids"] = inputs["input_ids"].clone()
    # One more placeholder than features: the text's first word becomes one.
    inputs["input_ids"][0, -3] = 9
    with autotc.apply(model(), FULL), torch.no_grad(), pytest.raises((InputsError, ValueError, RuntimeError)):
        model()(**inputs)


def test_source_names_the_input_of_every_survivor() -> None:
    policy = Policy.of(
        [
            Stage(modality="image", location="encoder", layer=0, mechanism="tome", keep_ratio=0.7),
            Stage(modality="image", location="decoder", layer=2, mechanism="fastv", keep_ratio=0.3),
        ]
    )
    with autotc.apply(model(), policy) as handle, torch.no_grad():
        model()(**request([media(1, image=128)]))
    track = handle.last["image"]
    source = track.source()
    assert source.size == 64
    assert source.count.tolist() == [19]
    assert torch.equal(source.keep, track.ids)
    sums = torch.zeros(19).index_put_((source.dst,), source.weight, accumulate=True)
    torch.testing.assert_close(sums, torch.ones(19))
