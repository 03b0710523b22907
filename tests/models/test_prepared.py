"""Inputs of a configured processor go where inputs go: copied, moved, collated, made by templates and pipelines."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import ProcessorMixin

import autotc
from autotc.errors import InputsError
from autotc.models.media import Medium, decode_originals, encode_originals, originals_key

from .checkpoints import PROCESSORS
from .families import FAMILIES
from .test_exactness import PLAIN
from .test_input import OFFERED, SETTINGS, call, medium, policy_of

KEY = originals_key("image")


def test_media_survive_their_encoding() -> None:
    media = (Medium((1, 4, 6), 24, 1, (30, 90)), Medium((3, 2, 2), 12, 4))
    assert decode_originals(encode_originals(media)) == media
    assert decode_originals(torch.cat([encode_originals(media[:1]), encode_originals(media[1:])])) == media
    assert decode_originals(encode_originals(())) == ()


def run(name: str, policy: Any, inputs: Any) -> tuple[Tensor, list[dict[str, Any]]]:
    model: Any = FAMILIES[name].build()
    with autotc.apply(model, policy) as handle, torch.no_grad():
        logits = model(**inputs).logits
        ids = model.generate(**inputs, max_new_tokens=2, min_new_tokens=2, do_sample=False, **PLAIN)
        assert ids.shape[1] == inputs["input_ids"].shape[1] + 2
        first, second = ([vars(stage) for stage in stages] for stages in handle.stats)
    assert first == second
    return logits, first


@pytest.mark.parametrize(("name", "modality"), OFFERED)
def test_copies(name: str, modality: str) -> None:
    processor, policy = PROCESSORS[name](), policy_of(modality, 0.4)
    inputs = call(name, processor, modality, [0, 2], autotc.configure(processor, policy))
    expected, stats = run(name, policy, inputs)
    assert stats[0]["realised"] < stats[0]["requested"] or stats[0]["untouched"] < 2
    cloned = {
        key: value.clone() if isinstance(value, Tensor) else copy.deepcopy(value) for key, value in inputs.items()
    }
    through = pickle.loads(pickle.dumps(dict(inputs)))
    (collated,) = DataLoader([dict(inputs)], batch_size=None)  # type: ignore[arg-type]
    for copied in (cloned, through, collated, dict(inputs.to(torch.float32))):
        logits, seen = run(name, policy, copied)
        assert torch.equal(logits, expected)
        assert seen == stats
    del cloned[originals_key(modality)]  # type: ignore[arg-type]
    with pytest.raises(InputsError, match="pass all of its outputs on, autotc_"):
        run(name, policy, cloned)


IMAGES = [name for name, modality in OFFERED if modality == "image"]


@pytest.mark.parametrize("name", IMAGES)
def test_a_configured_processor_is_a_processor(name: str, tmp_path: Any) -> None:
    processor, policy = PROCESSORS[name](), policy_of("image", 0.4)
    configured: Any = autotc.configure(processor, policy)
    assert isinstance(configured, type(processor))
    assert isinstance(configured, ProcessorMixin)
    assert type(configured).__name__ == type(processor).__name__
    inputs = call(name, processor, "image", [1], configured)
    for copied in (
        copy.deepcopy(configured),
        pickle.loads(pickle.dumps(configured)),
        autotc.configure(configured, policy),
    ):
        again = call(name, processor, "image", [1], copied)
        assert again.keys() == inputs.keys()
        assert all(torch.equal(again[key], inputs[key]) for key in inputs if isinstance(inputs[key], Tensor))
    configured.save_pretrained(tmp_path)
    saved = {path.name: path.read_text() for path in tmp_path.glob("*.json")}
    assert "processor_config.json" in saved
    assert not any("unconfigured" in text or "autotc" in text for text in saved.values())


@pytest.mark.parametrize("name", IMAGES)
def test_chat_templates_that_tokenize(name: str) -> None:
    processor, policy = PROCESSORS[name](), policy_of("image", 0.4)
    configured: Any = autotc.configure(processor, policy)
    picture = Image.fromarray(medium("image", 0))
    turn = [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": "red"}]}]
    made: dict[str, Any] = {
        "tokenize": True,
        "return_dict": True,
        "return_tensors": "pt",
        "add_generation_prompt": True,
    }
    made |= {"add_generation_prompt": True, "processor_kwargs": SETTINGS.get(name)}
    inputs, whole = configured.apply_chat_template(turn, **made), processor.apply_chat_template(turn, **made)
    assert inputs["input_ids"].shape[1] < whole["input_ids"].shape[1]
    _, stats = run(name, policy, inputs)
    assert stats[0]["untouched"] == 0


def test_pipelines() -> None:
    from transformers import pipeline

    name = "qwen2_5_vl"
    processor, policy = PROCESSORS[name](), policy_of("image", 0.4)
    model: Any = FAMILIES[name].build()
    pipe = pipeline("image-text-to-text", model=model, processor=autotc.configure(processor, policy))
    picture = Image.fromarray(medium("image", 0))
    turn = [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": "red"}]}]
    with autotc.apply(model, policy) as handle:
        pipe(text=turn, max_new_tokens=2, generate_kwargs=PLAIN)
    assert handle.stats[0][0].untouched == 0
    assert handle.stats[0][0].realised[0] < 20


def test_pictures_given_by_position() -> None:
    name = "qwen2_5_vl"
    processor, policy = PROCESSORS[name](), policy_of("image", 0.4)
    inputs = call(name, processor, "image", [0], autotc.configure(processor, policy))

    def by_position(images: Any, text: Any, **kwargs: Any) -> Any:
        configured: Any = autotc.configure(processor, policy)
        return configured(images, text, **kwargs)

    again = call(name, processor, "image", [0], lambda text, images, **kwargs: by_position(images, text, **kwargs))
    assert torch.equal(again["input_ids"], inputs["input_ids"])
    assert torch.equal(again[KEY], inputs[KEY])
