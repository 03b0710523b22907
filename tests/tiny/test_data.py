"""The generator and the shipped checkpoint."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from autotc.tiny import WEIGHTS, load
from autotc.tiny.config import VOCABULARY, build_model, build_processor
from autotc.tiny.data import SCENES, SHARES, AudioScene, ImageScene, VideoScene, load_sources
from autotc.tiny.train import Layouts, Mel, pack, vision_inputs


def test_splits_share_no_digit_image_and_no_voice() -> None:
    for a, b in itertools.combinations(SHARES, 2):
        one, two = load_sources(a), load_sources(b)
        assert not set(one.voices) & set(two.voices)
        for digit in range(10):
            assert not set(one.image_ids[digit].tolist()) & set(two.image_ids[digit].tolist())
    assert sum(len(i) for split in SHARES for i in load_sources(split).image_ids) == 1797


@pytest.mark.parametrize("kind", list(SCENES))
def test_scenes_are_seeded_and_label_every_unit(kind: str) -> None:
    sources = load_sources("val")
    one, two = (SCENES[kind](np.random.default_rng(4), sources) for _ in range(2))
    assert one.questions() == two.questions()
    assert np.array_equal(one.labels(), two.labels())
    assert len(one.labels()) >= 64
    for question in one.questions():
        assert all(word in VOCABULARY for word in (question.query + " " + question.answer).split())


def test_renderings_are_seeded() -> None:
    sources = load_sources("val")
    for scene in (ImageScene, VideoScene, AudioScene):
        a, b = (scene(np.random.default_rng(9), sources).render() for _ in range(2))
        assert np.array_equal(a, b)


def test_digits_of_a_picture_are_asked_in_reading_order() -> None:
    scene = ImageScene(np.random.default_rng(1), load_sources("val"), counts=(4,))
    labels = scene.labels()
    firsts = [int(np.flatnonzero(labels[:, 4] == i)[0]) for i in range(1, 5)]
    assert firsts == sorted(firsts)
    answers = {q.query: q.answer for q in scene.questions() if q.task == "order"}
    assert answers["digit first"] == str(labels[firsts[0], 0] - 1)
    assert answers["digit last"] == answers["digit fourth"] == str(labels[firsts[3], 0] - 1)


def test_training_inputs_equal_the_processors() -> None:
    processor, rng, sources = build_processor(), np.random.default_rng(0), load_sources("train")
    image, video, audio = (scene(rng, sources) for scene in (ImageScene, VideoScene, AudioScene))
    pixels, grid = vision_inputs([image])
    theirs = processor.image_processor(images=[image.render()], return_tensors="pt")
    torch.testing.assert_close(pixels, theirs["pixel_values"], atol=1e-6, rtol=0)
    assert torch.equal(grid, theirs["image_grid_thw"])
    pixels, grid = vision_inputs([video])
    theirs = processor.video_processor(
        videos=[video.render()], return_tensors="pt", do_sample_frames=False, cap_pixels_per_frame=False
    )
    torch.testing.assert_close(pixels, theirs["pixel_values_videos"], atol=1e-6, rtol=0)
    assert torch.equal(grid, theirs["video_grid_thw"])
    heard = processor.feature_extractor(
        [audio.render()], sampling_rate=16000, return_tensors="pt", padding="max_length", return_attention_mask=True
    )
    frames = int(heard["attention_mask"].sum())
    torch.testing.assert_close(Mel()([audio])[0], heard["input_features"][0, :, :frames], atol=1e-5, rtol=0)


def test_packed_questions_do_not_see_each_other() -> None:
    model = build_model().eval()
    scenes = [ImageScene(np.random.default_rng(2), load_sources("train"), counts=(3,))]
    packed = pack(scenes, Layouts(model), np.random.default_rng(3), blanks=None)
    language = model.model.language_model
    embeds = model.get_input_embeddings()(packed.ids)
    with torch.no_grad():
        whole = language(inputs_embeds=embeds, position_ids=packed.positions, attention_mask=packed.mask)
        changed = embeds.clone()
        last = int((packed.targets[0] >= 0).nonzero()[-1])
        changed[0, last] += 1.0
        other = language(inputs_embeds=changed, position_ids=packed.positions, attention_mask=packed.mask)
    same = (whole.last_hidden_state - other.last_hidden_state).abs().amax(-1)[0] < 1e-6
    assert bool(same[: last - 5].all())
    assert not bool(same[last])


def test_shipped_checkpoint_loads_and_fits() -> None:
    size = sum(path.stat().st_size for path in WEIGHTS.iterdir())
    assert size < 20 * 1024 * 1024
    model, processor = load()
    count = sum(p.numel() for p in model.parameters())
    assert 2e6 <= count <= 8e6
    assert model.config.text_config.num_hidden_layers >= 6
    fresh = build_model()
    assert {k: v.shape for k, v in fresh.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert processor.tokenizer.get_vocab() == build_processor().tokenizer.get_vocab()
