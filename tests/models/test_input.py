"""Input stages drive each family's own processor: counts, cost and generation, on real processors of tiny models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import autotc
from autotc.cost import prefill_cost, request_shapes
from autotc.errors import InputsError, PolicyError, UnsupportedModelError
from autotc.evaluate.model import ModelEvaluator
from autotc.evaluate.samples import Sample
from autotc.models import ADAPTERS, bind, find_adapter
from autotc.models.media import marked
from autotc.policy import Policy, Stage
from autotc.runtime.processor import tracked

from .checkpoints import PROCESSORS
from .families import FAMILIES
from .test_exactness import COUNTED, PLAIN

SIZES = [(30, 90), (48, 48), (100, 30), (64, 70)]
SETTINGS = {"gemma3": {"images_kwargs": {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 16}}}
RESIZED = (
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "qwen3_5",
    "qwen3_omni",
    "glm4v",
    "glm46v",
    "mistral3",
    "video_llama_3",
)
"""Families whose pictures autotc resizes itself, also to the size that their processor would."""
OFFERED = [
    (name, modality)
    for name in sorted(PROCESSORS)
    for modality, places in find_adapter(FAMILIES[name].build()).locations.items()
    if "input" in places
]


def test_every_family_but_llava_offers_the_input() -> None:
    assert {name for name, _ in OFFERED} == {*PROCESSORS} - {"gemma4", "llava", "minicpmv4_6"}
    lacking: dict[str, set[str]] = {}
    for adapter in ADAPTERS:
        for modality, places in adapter.locations.items():
            if "input" not in places:
                lacking.setdefault(adapter.family, set()).add(modality)
    seen = {"image", "video"}
    assert lacking == {"llava": {"image"}, "voxtral": {"audio"}, "minicpmv": seen, "gemma4": {*seen, "audio"}}
    assert all(adapter.processors for adapter in ADAPTERS)


def medium(modality: str, number: int) -> Any:
    rng = np.random.default_rng(number)
    if modality == "image":
        return rng.integers(0, 255, (*SIZES[number], 3), dtype=np.uint8)
    if modality == "video":
        return rng.integers(0, 255, (8, 32, 24, 3), dtype=np.uint8)
    return rng.normal(0, 0.1, 145 * SIZES[number][0]).astype(np.float32)


def call(name: str, processor: Any, modality: str, numbers: list[int], to: Any) -> Any:
    """One prompt for each number, with one medium."""
    adapter = find_adapter(FAMILIES[name].build())
    turn = [{"role": "user", "content": [{"type": modality}, {"type": "text", "text": "which digit is red"}]}]
    text = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    media = [medium(modality, number) for number in numbers]
    arguments: dict[str, Any] = dict(SETTINGS.get(name, {}))
    if modality == "image":
        arguments["images"] = [[image] for image in media]
    elif modality == "video":
        arguments |= {
            "videos": media,
            "videos_kwargs": {"do_sample_frames": False, **adapter.video_settings(processor)},
        }
    else:
        arguments["audio"] = media
    return to(text=[text] * len(numbers), return_tensors="pt", padding=True, padding_side="left", **arguments)


def policy_of(modality: str, ratio: float, *more: Stage) -> Policy:
    stage = Stage(modality=modality, location="input", mechanism="downsample", keep_ratio=ratio)  # type: ignore[arg-type]
    return Policy.of([stage, *more])


@pytest.mark.parametrize("ratio", [0.6, 0.3])
@pytest.mark.parametrize(("name", "modality"), OFFERED)
def test_counts_cost_and_generation(name: str, modality: str, ratio: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = FAMILIES[name].build()
    bound, processor = bind(model), PROCESSORS[name]()
    monkeypatch.setattr(model.config.get_text_config(), "_experts_implementation_internal", "eager", raising=False)
    later = Stage(modality=modality, location="projector", mechanism="random", keep_ratio=ratio / 2)  # type: ignore[arg-type]
    policy = policy_of(modality, ratio, later)
    fewer = False
    for number in range(len(SIZES)):
        plain = call(name, processor, modality, [number], tracked(processor))
        (request,) = request_shapes(bound, plain)
        predicted = prefill_cost(bound, policy, [request])
        prepared = call(name, processor, modality, [number], autotc.configure(processor, policy))
        (now,) = request_shapes(bound, prepared)
        counter = FlopCounterMode(display=False, custom_mapping=COUNTED)
        with autotc.apply(model, policy) as handle, torch.no_grad(), counter:
            model(**prepared)
        whole, left = (sum(item.count for item in shape.items) for shape in (request, now))
        shrunk, pruned = handle.stats[0]
        assert (shrunk.requested, shrunk.realised) == ([int(ratio * whole + 0.5)], [left])
        assert shrunk.untouched == (left == whole)
        # Ratios of a later stage are of the uncompressed count too.
        assert sum(pruned.realised) == pytest.approx(min(left, ratio / 2 * whole), abs=1 + len(now.items))
        assert predicted.tokens[modality] == sum(pruned.realised)
        assert predicted.lengths[-1] == now.text + sum(pruned.realised)
        assert predicted.total == pytest.approx(counter.get_total_flops(), rel=0.01)
        fewer = fewer or left < whole
    assert fewer
    # Rows of several sizes, whole and tiled: each as if it were alone.
    both = call(name, processor, modality, [0, 1], autotc.configure(processor, policy)).to("cpu")
    with autotc.apply(model, policy) as handle:
        together = model.generate(**both, max_new_tokens=3, do_sample=False, **PLAIN)[:, -3:]
    assert len(handle.stats) == 1
    for row in (0, 1):
        alone = call(name, processor, modality, [row], autotc.configure(processor, policy))
        with autotc.apply(model, policy):
            assert model.generate(**alone, max_new_tokens=3, do_sample=False, **PLAIN)[0, -3:].equal(together[row])


@pytest.mark.parametrize(("name", "modality"), OFFERED)
def test_inputs_that_were_not_prepared(name: str, modality: str) -> None:
    model: Any = FAMILIES[name].build()
    processor = PROCESSORS[name]()
    plain = call(name, processor, modality, [0], processor)
    with autotc.apply(model, policy_of(modality, 0.5)), pytest.raises(InputsError, match=r"autotc\.configure"):
        model(**plain)


@pytest.mark.parametrize("name", sorted({name for name, _ in OFFERED}))
def test_keeping_everything_changes_nothing(name: str) -> None:
    model: Any = FAMILIES[name].build()
    processor = PROCESSORS[name]()
    modality = next(m for n, m in OFFERED if n == name)
    plain = call(name, processor, modality, [0, 3], processor)
    prepared = call(name, processor, modality, [0, 3], autotc.configure(processor, policy_of(modality, 1.0)))
    assert torch.equal(plain["input_ids"], prepared["input_ids"])
    with torch.no_grad(), autotc.apply(model, policy_of(modality, 1.0)):
        got = model(**prepared).logits
    if name not in RESIZED:
        with torch.no_grad():
            assert torch.equal(got, model(**plain).logits)


def test_more_tiles_for_more_of_the_budget() -> None:
    """InternVL: what a smaller max_patches of its own would give."""
    processor = PROCESSORS["internvl"]()
    seen = []
    for ratio in (0.1, 0.3, 0.5, 0.8, 1.0):
        prepared = call("internvl", processor, "image", [2], autotc.configure(processor, policy_of("image", ratio)))
        (original,) = marked(prepared["pixel_values"]) or ()
        assert len(prepared["pixel_values"]) == original.items
        seen.append(original.items)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (1, original.tilings[0].tiles)
    for most in range(1, 7):
        own = call("internvl", processor, "image", [2], lambda **k: processor(**k, images_kwargs={"max_patches": most}))  # noqa: B023
        assert len(own["pixel_values"]) in {tiling.tiles for tiling in original.tilings}


def test_several_images_of_a_prompt_keep_their_places() -> None:
    processor = PROCESSORS["llava_onevision"]()
    model: Any = FAMILIES["llava_onevision"].build()
    policy = policy_of("image", 0.5)
    images = [[medium("image", 0)], [medium("image", 1), medium("image", 3)]]
    text = ["<s> <user> <|x|> <image> red <end> <a>", "<s> <user> <|x|> <image> <image> red <end> <a>"]
    prepared = autotc.configure(processor, policy)(images=images, text=text, return_tensors="pt", padding=True)
    originals = marked(prepared["image_sizes"]) or ()
    assert [o.size for o in originals] == [SIZES[0], SIZES[1], SIZES[3]]
    with torch.no_grad(), autotc.apply(model, policy) as handle:
        model(**prepared)
    # Only an image that stands alone is tiled.
    assert handle.stats[0][0].realised[1:] == [16, 16]
    assert handle.stats[0][0].realised[0] < originals[0].n0


def test_what_has_no_input_stage() -> None:
    with pytest.raises(PolicyError, match=r"llava offers no input stage for image; every image is brought"):
        autotc.configure(PROCESSORS["llava"](), policy_of("image", 0.5))
    with pytest.raises(PolicyError, match="internvl offers no input stage for video; it has image"):
        autotc.configure(PROCESSORS["internvl"](), policy_of("video", 0.5))
    with pytest.raises(UnsupportedModelError, match="object is not supported; supported processors: LlavaProcessor"):
        autotc.configure(object(), policy_of("image", 0.5))


def test_tiles_without_their_pictures_are_not_guessed() -> None:
    model: Any = FAMILIES["internvl"].build()
    processor = PROCESSORS["internvl"]()
    (request,) = request_shapes(bind(model), call("internvl", processor, "image", [0], processor))
    with pytest.raises(InputsError, match="do not tell which tiles were cut from one picture"):
        prefill_cost(bind(model), policy_of("image", 0.5), [request])


class Few(ModelEvaluator):
    """Three pictures of three sizes."""

    modalities = ("image",)

    def samples(self, split: Any) -> Any:
        return [
            Sample(str(i), "t", "image", "which digit", "red", lambda i=i: {"images": [medium("image", i)]})  # type: ignore[misc]
            for i in range(3)
        ]


@pytest.mark.parametrize("name", ["internvl", "idefics3", "llava_next"])
def test_the_evaluator_charges_what_is_left(name: str) -> None:
    evaluator = Few(FAMILIES[name].build(), PROCESSORS[name](), max_new_tokens=2)
    policy = policy_of("image", 0.3)
    cost = evaluator.cost(policy, "test")
    prepared = evaluator.request(policy, "test", "image", 3)
    left = sum(item.count for request in request_shapes(bind(evaluator.loaded), prepared) for item in request.items)
    assert cost.flops_ratio < 1
    floors = evaluator.floors("test")
    assert floors["image", "input"] <= cost.flops_ratio
    assert len(evaluator.run(policy, "test").samples) == 3
    assert sum(sum(stage.realised) for stage in _stats(evaluator, policy)) == left


def _stats(evaluator: Few, policy: Policy) -> Any:
    with autotc.apply(evaluator.loaded, policy) as handle, torch.no_grad():
        evaluator.loaded(**evaluator.request(policy, "test", "image", 3))
    return handle.stats[0]


def test_what_input_stages_prepare_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    from autotc.evaluate import batches as module

    evaluator = Few(FAMILIES["llava_next"].build(), PROCESSORS["llava_next"](), max_new_tokens=2)
    monkeypatch.setattr(module, "KEPT_BYTES", 1)
    for ratio in (1.0, 0.8, 0.5, 0.3):
        evaluator.run(policy_of("image", ratio), "test")
    evaluator.run(Policy(), "test")
    assert len(evaluator.batches.pieces) == 2
    # Of an input stage in several pieces all stay, or none, and all count.
    evaluator.announce_stops("test", {"image": [1, 2, 3]})
    whole, sizes = Policy().content_hash(), []
    for ratio in (0.4, 0.6):
        evaluator.run(policy_of("image", ratio), "test")
        kept = {key: batches for key, batches in evaluator.batches.pieces.items() if key[2] != whole}
        assert [key[3:] for key in kept] == [(0, 1), (1, 2), (2, 3)]
        sizes.append(sum(batch.nbytes for batches in kept.values() for batch in batches))
    for bound, stages in ((sum(sizes), 2), (sum(sizes) - 1, 1)):
        monkeypatch.setattr(module, "KEPT_BYTES", bound)
        evaluator.forget(policy_of("image", 0.4))
        evaluator.run(policy_of("image", 0.4), "test")
        assert len({key[2] for key in evaluator.batches.pieces} - {whole}) == stages


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "qwen3_omni"])
def test_frames_that_are_left_out_take_their_time_stamps_along(name: str) -> None:
    bound, processor = bind(FAMILIES[name].build()), PROCESSORS[name]()
    stage = Stage(modality="video", location="input", mechanism="downsample", keep_ratio=0.5, params={"axis": "time"})
    (request,) = request_shapes(bound, call(name, processor, "video", [0], tracked(processor)))
    prepared = call(name, processor, "video", [0], autotc.configure(processor, Policy.of([stage])))
    (now,) = request_shapes(bound, prepared)
    assert (request.items[0].grid, now.items[0].grid) == ((4, 4, 3), (2, 4, 3))
    cost = prefill_cost(bound, Policy.of([stage]), [request])
    assert cost.lengths[0] == prepared["input_ids"].shape[1]
