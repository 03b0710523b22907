"""The frames of an item apart from one another: each as a row of its own."""

from __future__ import annotations

import math

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.frames import present_frames
from autotc.mechanisms.grouping import count_groups, group_rows
from autotc.mechanisms.tokens import Tokens


def frame_rows(tokens: Tokens, budget: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens of each frame, and its share of the budget, in proportion to its tokens.

    An item whose frames have one token each, such as audio, is one frame.

    Args:
        tokens: the items.
        budget: (B,) long.

    Returns:
        place (B x F, P) long, as of `group_rows`, and count (B x F,) long, summing to the budget of each item.
    """
    frame, valid = present_frames(tokens), tokens.valid
    single = count_groups(frame, valid, int(frame.max()) + 1).amax(1) < 2
    frame = frame.masked_fill(single[:, None], 0)
    frames = int(frame.max()) + 1
    size = count_groups(frame, valid, frames)
    return group_rows(frame, valid, frames), allocate(budget, size.double(), size, least=1).flatten()


def smooth(score: Tensor, place: Tensor, present: Tensor) -> Tensor:
    """Scores of a frame averaged with the neighbours' by a 3 x 3 Gaussian of deviation 1, reflected at the border.

    Where there is no token, the others share its weight. Rows of a single place, such as audio, stay as they are.

    Args:
        score: (R, P) float.
        place: (R, P, 2) long, row and column.
        present: (R, P) bool.
    """
    place = place.masked_fill(~present[..., None], 0)
    end = place.amax(1, keepdim=True)
    height, width = (end + 1).amax((0, 1)).tolist()
    values = torch.stack([score, torch.ones_like(score)], 2).masked_fill(~present[..., None], 0.0)
    grid = torch.zeros(len(score), height * width, 2, device=score.device)
    grid.scatter_add_(1, (place[..., 0] * width + place[..., 1])[..., None].expand_as(values), values)
    total = torch.zeros_like(values)
    for step in ((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)):
        to = (place + torch.tensor(step, device=place.device)).abs()
        to = torch.where(to > end, 2 * end - to, to)
        weight = math.exp(-(step[0] ** 2 + step[1] ** 2) / 2) * (to >= 0).all(2)
        at = to.clamp_min(0)
        total += weight[..., None] * grid.gather(1, (at[..., 0] * width + at[..., 1])[..., None].expand_as(values))
    return torch.where((end == 0).all(2), score, total[..., 0] / total[..., 1].clamp_min(1e-6))
