"""Every family: towers whose outputs and scores are known do not run, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import autotc
from autotc.evaluate.towers import BatchTowers, Towers
from autotc.evaluate.towers.cache import TowerCache
from autotc.mechanisms import MECHANISMS, TOWER_SCORES
from autotc.models import bind, find_adapter
from autotc.models.identity import model_stamp
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.runtime.features import TowerCall
from autotc.runtime.reuse import applied
from tests.runtime.helpers import snapshot

from .families import FAMILIES, Family

READERS = ("cls_attention", "received_attention", "prumerge", "visionzip", "hiprune", "divprune")
"""Mechanisms that read each score of a tower, several or none."""


def policies(family: Family) -> list[Policy]:
    """One stage at the projector on each modality, by each mechanism that the family can run on all of them."""
    bound = bind(family.build())
    held = [modality for modality in bound.offers if family.holds(modality)]
    out = []
    for name in READERS:
        able = [m for m in held if "projector" in bound.offers[m] and m in MECHANISMS[name].modalities]
        able = [m for m in able if bound.refusal(MECHANISMS[name], m, "projector") is None]
        if able:
            out.append(
                Policy.of([Stage(modality=m, location="projector", mechanism=name, keep_ratio=0.5) for m in able])
            )
    return out


@contextmanager
def blocks_run(model: nn.Module) -> Iterator[list[str]]:
    """Modalities whose towers run within the block, once for each of their first blocks."""
    adapter, ran = find_adapter(model), []
    hooks = []
    for modality in bind(model).offers:
        block = adapter.blocks(model, modality)[0]
        hooks.append(block.register_forward_pre_hook(lambda *_, m=modality: ran.append(m)))
    try:
        yield ran
    finally:
        for hook in hooks:
            hook.remove()


def logits(model: nn.Module, inputs: dict[str, Any]) -> Tensor:
    out: Tensor = model(**inputs, use_cache=False).logits
    return out


def kept_in(folder: Path, model: nn.Module, inputs: dict[str, Any]) -> BatchTowers:
    """What a process that begins finds of a batch in a folder."""
    cpu = torch.device("cpu")
    return Towers(model, lambda: model_stamp(model), lambda: cpu, TowerCache(folder, 10**9)).of(inputs)


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_a_tower_whose_outputs_are_known_does_not_run(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    model, inputs = family.build(), family.request(family.rows)
    bare = logits(model, inputs)
    expected = []
    for policy in policies(family):
        with autotc.apply(model, policy):
            expected.append(logits(model, inputs))
    before = snapshot(model)
    store: dict[TowerCall, Any] = {}
    for again in (False, True):
        for policy, right in zip([UNCOMPRESSED, *policies(family)], [bare, *expected], strict=True):
            with blocks_run(model) as ran, applied(model, policy, inputs, store):
                found = logits(model, inputs)
            assert torch.equal(found, right), policy.label()
            assert not (again and ran), policy.label()
    assert snapshot(model) == before
    kept_in(tmp_path, model, inputs).update(store)
    for policy, right in zip([UNCOMPRESSED, *policies(family)], [bare, *expected], strict=True):
        with blocks_run(model) as ran, applied(model, policy, inputs, kept_in(tmp_path, model, inputs)):
            found = logits(model, inputs)
        assert torch.equal(found, right), policy.label()
        assert not ran, policy.label()
    needs = {need for p in policies(family) for s in p.stages for need in s.build().needs}
    assert {call.score.partition(".")[2] for call in store if call.score} == TOWER_SCORES & needs
