"""Features that a model adds to its media's tokens behind the first decoder layers, brought to the tokens left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autotc.runtime.tracks import Track


class DeepStack:
    """Deep-stack features of one prompt.

    The model would add the features of level n, which come from deeper and deeper blocks of the tower, to all of the
    media's columns behind layer n. Here they are kept item by item, go through the reductions that their tokens went
    through since that block, and are added to what is left.
    """

    def __init__(self) -> None:
        # Layer -> per modality: its track, the reductions that the features have seen, and the features (I, N, D).
        self._levels: dict[int, list[tuple[Track, int, Tensor]]] = {}

    def take(
        self,
        track: Track,
        units: Tensor,
        seen: Tensor,
        features: Sequence[Tensor],
        levels: Sequence[tuple[int, Tensor]],
    ) -> None:
        """Sort one modality's features by item.

        Args:
            track: of the modality; its items stand in the prompt in their order.
            units: (B, L) bool, columns of its units in the prompt.
            seen: (B, L) bool, columns of all media's units: features come in this order.
            features: per level, (units seen, D).
            levels: per level, how many of the track's reductions came before it, and the units (I, N) left by then;
                -1 pads.
        """
        # number[row, column]: which row of the features is that column's.
        number = (seen.view(-1).cumsum(0) - 1).view(seen.shape)
        columns = self._columns(track, units)
        for layer, (since, ids) in enumerate(levels[: len(features)]):
            index = torch.zeros(ids.shape, dtype=torch.long)
            for i in range(len(track.items)):
                left = ids[i] >= 0
                index[i, left] = number[int(track.batch_row[i]), columns[i][ids[i, left]]]
            level = features[layer]
            values = level[index.to(level.device)].masked_fill((ids < 0)[..., None].to(level.device), 0.0)
            self._levels.setdefault(layer, []).append((track, since, values))

    @staticmethod
    def _columns(track: Track, units: Tensor) -> list[Tensor]:
        """Per item, columns (count,) of its units: those of a row are shared out in the order of its items."""
        by_row = [units[row].nonzero()[:, 0] for row in range(len(units))]
        taken = [0] * len(by_row)
        out = []
        for i, item in enumerate(track.items):
            row = int(track.batch_row[i])
            out.append(by_row[row][taken[row] : taken[row] + item.count])
            taken[row] += item.count
        return out

    def add(self, layer: int, output: Any) -> Any:
        """A layer's output with its level's features added to the tokens left; None where there are none."""
        if layer not in self._levels:
            return None
        hidden: Tensor = output[0] if isinstance(output, tuple) else output
        out = hidden.clone(memory_format=torch.contiguous_format)
        flat = out.view(-1, out.shape[-1])
        for track, since, features in self._levels.pop(layer):
            values = features.to(hidden.device, hidden.dtype)
            for reduction in track.reductions[since:]:
                values = reduction.apply(values)
            real = track.host_valid.view(-1).nonzero()[:, 0].to(hidden.device)
            places = track.flat(hidden.shape[1]).to(hidden.device)
            flat.index_add_(0, places, values.reshape(-1, values.shape[-1])[real])
        return (out, *output[1:]) if isinstance(output, tuple) else out
