"""Counts as serving engines make them, by hand from their published rules, and where runtime and cost ask for them."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from autotc.mechanisms import Tokens, build_mechanism
from autotc.policy import Stage

from .kit import item

ENGINE = {"counting": "engine"}

# int(N x (1 - rate)), never less than a frame: `compute_retained_tokens_count` of vLLM, SGLang and TensorRT-LLM.
EVS = [
    ((4, 2, 3), 0.5, 12),  # 24 x 0.5
    ((4, 2, 3), 0.3, 7),  # 7.2, rounded down
    ((4, 2, 3), 0.45, 10),  # 10.8, rounded down; the policy's own rule gives 11
    ((4, 2, 3), 0.1, 6),  # 2.4, but a frame has 6
    ((2, 1, 10), 0.25, 10),  # 5, but a frame has 10
    ((1, 4, 4), 0.2, 16),  # one frame stays whole
    ((10, 1, 10), 0.1, 10),  # 9.99...: a frame
    ((20, 1, 5), 0.1, 9),  # 100 x (1 - 0.9) = 9.999999999999998
    ((4, 2, 3), 1.0, 24),
]
# max(frames, int(N x (1 - rate))).
VIDCOM2 = [
    ((4, 2, 3), 0.5, 12),
    ((4, 2, 3), 0.45, 10),
    ((4, 2, 3), 0.1, 4),  # 2, but there are 4 frames
    ((20, 1, 5), 0.1, 20),
    ((5, 4, 5), 0.1, 9),  # 9.999999999999998
    ((1, 4, 4), 0.05, 1),
    ((4, 2, 3), 1.0, 24),
]
# round(N x (1 - percent / 100)).
CDPRUNER = [
    ((1, 8, 8), 0.25, 16),
    ((1, 5, 5), 0.5, 13),  # 12.5, away from zero
    ((1, 5, 10), 0.45, 22),  # 50 x (1 - 0.55) = 22.499999999999996; the policy's own rule gives 23
    ((1, 1, 7), 0.3, 2),  # 2.1
    ((1, 1, 7), 0.333, 2),  # 67 percent: 2.31
    ((1, 1, 2), 0.1, 1),
    ((2, 11, 13), 0.9, 258),  # 129 of each frame's 143; of both at once 257
    ((3, 2, 2), 0.1, 3),  # one a frame at least
    ((25, 1, 1), 0.5, 13),  # audio has no frames
]
# ceil(N x ratio).
DART_EMBEDDING = [
    ((1, 8, 8), 0.25, 16),
    ((1, 5, 5), 0.5, 13),  # 12.5
    ((1, 5, 10), 0.41, 21),  # 20.5
    ((1, 5, 10), 0.1, 5),
    ((1, 1, 7), 0.01, 1),
]
CASES = [
    *(("dart_embedding", *case) for case in DART_EMBEDDING),
    *(("evs", *case) for case in EVS),
    *(("vidcom2", *case) for case in VIDCOM2),
    *(("cdpruner", *case) for case in CDPRUNER),
]


@pytest.mark.parametrize(("name", "grid", "keep", "count"), CASES)
def test_engine_counts(name: str, grid: tuple[int, int, int], keep: float, count: int) -> None:
    n = grid[0] * grid[1] * grid[2]
    mechanism = build_mechanism(name, ENGINE, keep)
    assert mechanism.target(keep, n, n, grid) == count
    assert mechanism.target(keep, n, 1, grid) == 1  # no more than is left
    tokens = item(grid, 8, 0)
    scores = {"text_similarity": torch.randn(1, n), "text_features": torch.randn(1, 3, 8)}
    reduction = mechanism.reduce(tokens, torch.tensor([count]), scores)
    assert reduction.counts == [count]
    if name == "evs":
        first = grid[1] * grid[2]
        assert reduction.keep[0, :first].tolist() == list(range(first))  # the first frame stays whole


def test_counting_is_asked_for() -> None:
    for name in ("evs", "vidcom2", "cdpruner", "dart_embedding"):
        assert build_mechanism(name).target(0.45, 24, 24, (4, 2, 3)) == 11


def test_vidcom2_shares_follow_the_ratio() -> None:
    """Floors bind: 4 frames of 4 tokens, ratio 0.1, count 4.

    By the count every frame's share is one token, and the one distinct frame would get round(1 x (1 + 1 - 1/4)) = 2. By
    the ratio it is 0.1 x 4 x 1.75 = 0.7, which rounds to 1, as every other frame's is raised to 1.
    """
    x = torch.tensor([[1.0, 0.0, 9.0, -9.0]]).repeat(16, 1)
    x[:, 2:] *= torch.tensor([1.0, -1.0]).repeat(8)[:, None]
    x[12:14, :2] = torch.tensor([0.0, 1.0])  # frame 3 is the distinct one
    x[[3, 7, 11], :2] = torch.tensor([0.8, 0.6])  # one distinct token in every other frame
    tokens = item((4, 2, 2), 4, 0)
    tokens.features[0] = x
    by_ratio, by_count = (
        build_mechanism("vidcom2", ENGINE, ratio).reduce(tokens, torch.tensor([4]), {}).keep[0].tolist()
        for ratio in (0.1, None)
    )
    assert [i // 4 for i in by_ratio] == [0, 1, 2, 3]
    assert [i // 4 for i in by_count].count(3) == 2


def test_stage_hands_its_ratio_on() -> None:
    stage = Stage(modality="video", location="projector", mechanism="vidcom2", keep_ratio=0.3, params=ENGINE)
    assert stage.build(0.3).keep_ratio == 0.3


def test_openvino_reduces_each_frame_by_itself() -> None:
    tokens = item((3, 4, 5), 64, 0)
    text = torch.rand(1, 60, generator=torch.Generator().manual_seed(0))
    mechanism = build_mechanism("cdpruner", ENGINE, 0.45)
    count = mechanism.target(0.45, 60, 60, (3, 4, 5))
    assert count == 27
    together = mechanism.reduce(tokens, torch.tensor([count]), {"text_similarity": text}).keep[0]
    alone = []
    for frame in range(3):
        part = slice(20 * frame, 20 * frame + 20)
        one = Tokens(*(getattr(tokens, field.name)[:, part] for field in dataclasses.fields(Tokens)))
        kept = mechanism.reduce(one, torch.tensor([9]), {"text_similarity": text[:, part]}).keep[0]
        alone += [20 * frame + index for index in kept.tolist()]
    assert together.tolist() == alone
