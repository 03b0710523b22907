"""Scores of a tower's blocks: brought to the tokens left, also where the tower itself did not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from autotc.mechanisms import Score
from autotc.models import Item
from autotc.runtime.tracks import Track

ScoreKey = tuple[int, Score]
"""Block of a tower, and the score taken there."""


def for_track(values: Tensor, ids: Tensor, track: Track) -> Tensor:
    """A block's score for the tokens left in a track that went on from its tower's, or from repeats of it.

    Args:
        values: (B, N, ...) of the units that were left at the block.
        ids: (B, N) long on the host, which those were; -1 pads.
        track: whose tokens are asked for.
    """
    repeats = len(track.items) // len(ids)
    ids = ids.repeat_interleave(repeats, 0)
    place = torch.zeros(len(ids), int(max(ids.max(), track.ids.max())) + 1, dtype=torch.long)
    row, column = (ids >= 0).nonzero(as_tuple=True)
    place[row, ids[row, column]] = column
    at = place.gather(1, track.ids.clamp_min(0)).to(values.device)
    index = at if values.dim() == 2 else at[..., None].expand(-1, -1, values.shape[2])
    return values.repeat_interleave(repeats, 0).gather(1, index)


class KeptTower:
    """A tower that did not run, since what it makes of these items was known; it left all of them whole.

    Args:
        items: what was encoded.
        scores: (block, score) -> its values (B, N, ...), as a run of the tower without stages has them.

    Attributes:
        track: all of the items.
        whole, marked: as of a `TowerRun` that removed nothing.
    """

    whole, marked = True, False

    def __init__(self, items: Sequence[Item], scores: Mapping[ScoreKey, Tensor]) -> None:
        self._scores = scores
        device = next((values.device for values in scores.values()), torch.device("cpu"))
        self.track = Track.start(items, device)
        self._ids = self.track.ids

    def scored(self, block: int, need: Score, track: Track) -> Tensor:
        """A block's score for the tokens left in a track."""
        return for_track(self._scores[block, need], self._ids, track)

    def left_behind(self, block: int) -> tuple[int, Tensor]:
        """Reductions until behind a block, which are none, and the units (B, N) left then, which are all."""
        return 0, self._ids
