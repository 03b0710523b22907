"""What the training recipe makes of scenes, and the table of its stages."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autotc.tiny.config import VOCABULARY, build_model, build_processor
from autotc.tiny.scenes import SCENES, AudioScene, ImageScene, VideoScene
from autotc.tiny.sources import load_sources
from autotc.tiny.train.inputs import Mel, vision_inputs
from autotc.tiny.train.packing import MEDIA_IDS, Packer
from autotc.tiny.train.recipes import JOINED, RECIPES


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
    packed = Packer(model).pack(list(scenes), np.random.default_rng(3), blanks=None)
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


@pytest.mark.parametrize("kind", list(SCENES))
def test_packing_keeps_what_is_shown_and_targets_the_answers(kind: str) -> None:
    model, sources = build_model(), load_sources("train")
    scenes = [SCENES[kind](np.random.default_rng([i, 5]), sources) for i in range(3)]
    packer = Packer(model)
    packed = packer.pack(scenes, np.random.default_rng(6), blanks=4, max_questions=2)
    assert torch.isin(packed.ids.gather(1, packed.places), torch.tensor(MEDIA_IDS)).all()
    for row, scene in enumerate(scenes):
        labels = torch.from_numpy(scene.labels())
        assert torch.equal(packed.labels[row], labels[packed.units[row]])
        assert int((packed.labels[row, :, 0] > 0).sum()) == int((labels[:, 0] > 0).sum())
        answers = [packer.tasks[i] for i in packed.tasks[row][packed.tasks[row] >= 0].unique().tolist()]
        assert set(answers) <= {f"{kind}.{question.task}" for question in scene.questions()}
        ends = (packed.targets[row] == VOCABULARY["<|end|>"]).sum()
        assert int(ends) == min(2, len(scene.questions()))


def test_stages_go_on_from_stages_that_ran_before_and_train_the_same_part() -> None:
    earlier: list[str] = []
    for stage, recipe in RECIPES.items():
        if recipe.after:
            assert recipe.after in earlier
            assert RECIPES[recipe.after].trains == recipe.trains
        assert all(kind in SCENES or kind == "chorus" for kind in recipe.scenes)
        earlier.append(stage)
    assert len({recipe.seed for recipe in RECIPES.values()}) == len(RECIPES)
    assert {part: RECIPES[stage].trains for part, stage in JOINED.items()} == {part: part for part in JOINED}
