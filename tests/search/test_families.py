"""The default space on every family: any depth, any locations, the user's own data, no option but the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import autotc
from autotc.policy import Policy
from autotc.search.session import search
from tests.models.checkpoints import PROCESSORS, save

SAMPLED = ("llava", "qwen2_5_vl", "qwen2_audio")
"""Families of every test run: no interpolation, windows, sound alone."""


def example(folder: Path, modality: str) -> Path:
    """The samples of one modality that `autotc.init` writes."""
    written = autotc.init(folder)
    key = {"image": "images"}.get(modality, modality)
    lines = [line for line in written.data.read_text().splitlines() if key in json.loads(line)]
    path = folder / f"{modality}.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in SAMPLED else pytest.mark.full) for name in sorted(PROCESSORS)]
)
def test_a_search_needs_no_space(family: str, tmp_path: Path) -> None:
    checkpoint = save(family, tmp_path / "checkpoint")
    model, _ = autotc.load(checkpoint)
    modality = "audio" if family == "qwen2_audio" else "image"
    data = example(tmp_path / "example", modality)
    evaluator = autotc.evaluator(str(checkpoint), data=data)
    result = search(
        evaluator,
        budget=0.9,
        trials=6,
        force=True,  # random weights are right on nothing
        track=False,
        runs=tmp_path / "runs",
        out_dir=tmp_path / "policies",
        name="m",
    )
    assert result.trials == 6
    policy = Policy.load(result.policy)
    assert policy.measured is not None
    assert policy.measured.flops_ratio <= 0.9
    with autotc.apply(model, policy):
        pass
    locations = {stage.location for stage in policy.stages}
    assert locations <= {key.partition("/")[2] for key in result.floors}
