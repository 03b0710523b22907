"""What is told of a request's tokens is what the reductions have done to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from autotc.errors import DataError
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.evaluate.looking import look, requested_samples
from autotc.evaluate.outcomes import media_views, token_grid
from autotc.mechanisms import Reduction
from autotc.models import Item, bind
from autotc.models.media import Tiling
from autotc.models.tiled_pictures import Tile
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.records.shown import TokenGrid
from autotc.runtime import apply
from autotc.runtime.steps import Observation
from autotc.runtime.tracks import Track
from tests.models.families import FAMILIES


def stage(modality: Any, location: Any, mechanism: str, keep: float, layer: int | None = None) -> Stage:
    return Stage(modality=modality, location=location, layer=layer, mechanism=mechanism, keep_ratio=keep)


@pytest.fixture(scope="module")
def evaluator() -> BuiltinEvaluator:
    return BuiltinEvaluator()


def covered(grid: TokenGrid, side: int = 240) -> list[NDArray[np.int64]]:
    """How many tokens cover each point of each panel."""
    points = (np.arange(side) + 0.5) / side
    out = []
    for panel in range(len(grid.panels)):
        t0, t1, y0, y1, x0, x1 = grid.boxes[grid.panel == panel].T[..., None]
        down, across = (points >= y0) & (points < y1), (points >= x0) & (points < x1)
        assert (t0 < t1).all()
        out.append(np.einsum("ny,nx->yx", down.astype(int), across.astype(int)))
    return out


def test_survivors_by_hand() -> None:
    item = Item("image", (1, 2, 3), 6, (1.0, 10.0, 20.0))
    track = Track.start([item], torch.device("cpu"))
    mask = torch.tensor([[True, False, True, True, False, True]])
    merge = Reduction.merge(mask, torch.tensor([[0, 0, 2, 3, 2, 5]]), torch.ones(1, 6))
    tokens = track.advance(merge, track.tokens(torch.randn(1, 6, 4)))
    track.advance(Reduction.select(torch.tensor([[False, True, False, True]])), tokens)
    stages = (stage("image", "projector", "tome", 0.67), stage("image", "decoder", "fastv", 0.33, 2))
    (view,) = media_views(Policy(stages=stages), "image", [item], track, [])
    whole, merged, last = view.stages
    assert (whole.left, merged.left, last.left) == (6, 4, 2)
    assert merged.group.tolist() == [0, 0, 1, 2, 1, 3]
    assert merged.kept.tolist() == [True, False, True, True, False, True]
    assert merged.merged.tolist() == [True, True, True, False, True, False]
    # Token 2 stands for token 4 as well; 0 and 1 have gone with their survivor.
    assert last.group.tolist() == [-1, -1, 0, -1, 0, 1]
    assert last.label == "image decoder[2] fastv"
    assert view.extent == (1.0, 20.0, 60.0)
    assert whole.grid.boxes[4, 2:].tolist() == pytest.approx([0.5, 1.0, 1 / 3, 2 / 3])


def test_requests_of_a_batch_and_rows_of_different_length() -> None:
    small, large = (Item("image", (1, 1, n), n, (1.0, 8.0, 8.0)) for n in (2, 4))
    track = Track.start([large, small], torch.device("cpu"))
    mask = torch.tensor([[True, True, False, True], [False, False, False, True]])
    track.advance(Reduction.select(mask), track.tokens(torch.randn(2, 4, 3)))
    policy = Policy(stages=(stage("image", "projector", "random", 0.6),))
    (view,) = media_views(policy, "image", [small], track, [], rows=[1])
    assert view.stages[1].group.tolist() == [-1, 0]
    (view,) = media_views(policy, "image", [large], track, [], rows=[0])
    assert view.stages[1].group.tolist() == [0, 1, -1, 2]


def test_a_request_of_the_embedded_model(evaluator: BuiltinEvaluator) -> None:
    policy = Policy(
        stages=(
            stage("image", "encoder", "tome", 0.75, 1),
            stage("image", "decoder", "fastv", 0.25, 2),
            stage("audio", "input", "downsample", 0.5),
        )
    )
    (sample,) = requested_samples(evaluator, {"sample": ["test-image+audio-0001"]})
    seen: list[Observation] = []
    inputs = evaluator.batches.inputs([sample], evaluator.processor)
    with torch.inference_mode(), apply(evaluator.loaded, Policy(stages=policy.stages[:2]), seen.append):
        evaluator.loaded(**inputs, use_cache=False)
    # Followed token by token: where each of the picture's 64 goes.
    into = {int(s): int(d) for s, d in zip(seen[0].reduction.src, seen[0].reduction.dst, strict=True)}
    view = look(evaluator, policy, sample)
    image, audio = view.media
    assert image.stages[1].group.tolist() == [into.get(token, -1) for token in range(64)]
    assert [s.left for s in image.stages] == [64, 48, 16]
    assert [s.label for s in audio.stages] == ["uncompressed", "audio input downsample"]
    assert len(audio.stages[1].grid.boxes) < len(audio.stages[0].grid.boxes)
    assert audio.stages[1].grid.boxes[:, 1].max() == pytest.approx(1.0)
    assert 0 < view.flops_ratio < 1
    assert view.right == sample.answer
    assert view.answer.verdict in ("right", "wrong")
    assert view.tokens()[:3] == [
        ("image uncompressed", 64),
        ("image encoder[1] tome", 48),
        ("image decoder[2] fastv", 16),
    ]
    results = evaluator.run(UNCOMPRESSED, "test", limit=2, groups=["image+audio"])
    assert results.samples[1].correct == view.baseline.score


def test_frames_that_an_input_stage_leaves(evaluator: BuiltinEvaluator) -> None:
    policy = Policy(stages=(stage("video", "input", "downsample", 0.5),))
    (sample,) = requested_samples(evaluator, {"sample": ["test-video-0000"]})
    (video,) = look(evaluator, policy, sample).media
    assert all((panel == 1).all() for s in video.stages for panel in covered(s.grid))
    assert video.stages[1].left < video.stages[0].left == 96


def test_a_policy_without_stages(evaluator: BuiltinEvaluator) -> None:
    (sample,) = requested_samples(evaluator, {"sample": ["test-image-0000"]})
    view = look(evaluator, UNCOMPRESSED, sample)
    assert view.untouched == ("image",)
    assert view.flops_ratio == 1
    assert view.answer == view.baseline
    assert [len(medium.stages) for medium in view.media] == [1]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_boxes_that_tile_its_media(name: str) -> None:
    family = FAMILIES[name]
    model: Any = family.build()
    bound = bind(model)
    held = [modality for modality in bound.offers if family.holds(modality)]
    assert held
    for modality in held:
        row = next(row for row in family.rows if modality in row)
        inputs = family.request([row])
        stages = [stage(modality, "projector", "random", 0.6), stage(modality, "decoder", "random", 0.3, 2)]
        stages = [s for s in stages if s.location in bound.offers[modality]]
        with torch.inference_mode(), apply(model, Policy(stages=tuple(stages)), lambda _: None) as handle:
            model(**inputs, use_cache=False)
        items = list(bound.geometry(modality, inputs))
        views = media_views(Policy(stages=tuple(stages)), modality, items, handle.last[modality], [])
        assert sum(len(view.stages[0].grid.boxes) for view in views) == sum(item.count for item in items)
        for view in views:
            assert [s.left for s in view.stages] == sorted((s.left for s in view.stages), reverse=True)
            assert view.stages[-1].left < view.stages[0].left
            if modality == "audio":
                edges = view.stages[0].grid.boxes[:, :2]
                assert edges[1:, 0].tolist() == pytest.approx(edges[:-1, 1].tolist())
                assert (edges[0, 0], edges[-1, 1]) == (0, pytest.approx(1))
                continue
            for panel in covered(view.stages[0].grid):
                assert (panel == 1).mean() > 0.97  # the rest are points on an edge
                assert panel.max() <= 2


def test_tiles_stand_side_by_side_and_the_last_is_the_whole() -> None:
    tilings = (Tiling(7, 0, (20, 30)),)
    first = Tile("image", (1, 2, 2), 4, (0.0, 5.0, 5.0), tilings)
    rest = Tile("image", (1, 2, 2), 4, (0.0, 5.0, 5.0))
    grid = token_grid([first, *[rest] * 6])
    assert [panel.label for panel in grid.panels] == ["tiles", "whole"]
    assert all((panel == 1).all() for panel in covered(grid))
    # The second tile begins a third of the way to the right.
    assert grid.boxes[4, 2:].tolist() == pytest.approx([0, 0.25, 1 / 3, 0.5])


def test_what_there_is_not(evaluator: BuiltinEvaluator) -> None:
    with pytest.raises(DataError, match=r"--sample: no sample is called 'nothing'; .* search-image-0000"):
        requested_samples(evaluator, {"sample": ["nothing"]})
    with pytest.raises(DataError, match="--prompt: holds"):
        requested_samples(evaluator, {"image": ["x.png"], "prompt": f"a {evaluator.processor.image_token}"})
    assert [s.id for s in requested_samples(evaluator, {"samples": 1, "split": "val"})][:2] == [
        "val-image-0000",
        "val-video-0000",
    ]
