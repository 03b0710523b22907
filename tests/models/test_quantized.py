"""Quantized models under policies: what takes rows of NaN runs, what does not is refused by name."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch

import autotc
from autotc.errors import PolicyError
from autotc.models import bind
from autotc.policy import Policy, Stage

from .families import FAMILIES

PARTS = ("blocks", "language model", "behind the blocks")


def quantized(family: str, modality: Any, part: str) -> Any:
    """A copy of a family's model whose linear layers of one part are quantized dynamically."""
    model = copy.deepcopy(FAMILIES[family].build())
    adapter = bind(model).adapter
    groups = {
        "blocks": {id(m) for block in adapter.blocks(model, modality) for m in block.modules()},
        "language model": {id(m) for m in adapter.language_model(model).modules()},
    }
    groups["behind the blocks"] = {id(m) for m in adapter.base(model).modules()} - groups["blocks"] - groups[PARTS[1]]
    names = [name for name, m in model.named_modules() if type(m) is torch.nn.Linear and id(m) in groups[part]]
    assert names
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = dict.fromkeys(names, torch.ao.quantization.default_dynamic_qconfig)
        return torch.ao.quantization.quantize_dynamic(model, config, torch.qint8)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("family", "modality"), [("qwen3_vl", "image"), ("llava", "image"), ("qwen2_audio", "audio")])
def test_holes_reach_only_what_takes_them(family: str, modality: Any, part: str) -> None:
    model = quantized(family, modality, part)
    policy = Policy.of([Stage(modality=modality, location="encoder", layer=1, mechanism="tome", keep_ratio=0.5)])
    if part == "behind the blocks":
        with pytest.raises(PolicyError, match=r"stages\.0\.location: .* rows of NaN that .* \(Linear\) cannot take"):
            autotc.apply(model, policy)
        autotc.apply(model, Policy.of([policy.stages[0].model_copy(update={"location": "projector", "layer": None})]))
        return
    rows = [row for row in FAMILIES[family].rows if modality in row][:1]
    with autotc.apply(model, policy) as handle, torch.no_grad():
        logits = model(**FAMILIES[family].request(rows)).logits
    assert handle.stats[-1][0].realised
    assert not logits.isnan().any()
