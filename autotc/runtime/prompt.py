"""What the model was called with, and where each token of it stands in each decoder layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from autotc.errors import InputsError
from autotc.models import Item
from autotc.runtime.columns import Columns, leading_padding
from autotc.runtime.masks import LayerMasks
from autotc.runtime.tower_scores import KeptTower
from autotc.runtime.towers import TowerRun
from autotc.runtime.tracks import Track
from autotc.vocabulary import Modality


@dataclass
class EncodedPrompt:
    """A call of the model whose media have been encoded.

    Attributes:
        arguments: of the call, by name.
        items: modality -> items that were encoded for it.
        towers: modality -> what its tower did, or would have done.
        ids: its ``input_ids`` on the host, where they were brought there already.
        drafts: how many of its last tokens are no prompt, but candidates of assisted generation to be verified.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    items: dict[Modality, list[Item]] = field(default_factory=dict)
    towers: dict[Modality, TowerRun | KeptTower] = field(default_factory=dict)
    ids: Tensor | None = None
    drafts: int = 0


def check_placeholders(modality: Modality, items: Sequence[Item], placeholders: int) -> int:
    """How often a prompt repeats its items: once, or with beams once for each.

    Raises:
        InputsError: its placeholders are not those of its items.
    """
    total = sum(item.slots for item in items)
    repeats, rest = divmod(placeholders, total) if total else (0, 1)
    if rest or repeats < 1:
        raise InputsError(
            f"{modality}: {placeholders} placeholder tokens for {total} features; both must come from one processor"
            " call"
        )
    return repeats


@dataclass(frozen=True)
class Past:
    """The turns before a prompt that goes on from a cache.

    Attributes:
        length: tokens of the uncompressed conversation so far.
        columns: layer -> those that its cache holds; None for all.
    """

    length: int
    columns: list[Columns | None]

    @property
    def compressed(self) -> bool:
        """Whether a layer holds less than all."""
        return any(columns is not None for columns in self.columns)


@dataclass
class PromptState:
    """The tokens of a prompt while it passes through the language model; all of it is on the host.

    Columns are counted twice: ``here`` in the sequence that enters the language model, from which the holes and what
    projector stages removed are gone; ``stored`` in the prompt as it was given, which is what masks and decoding need.
    None stands for all columns. A prompt that goes on from a cache is the new turn alone; `keys` counts in the whole
    conversation.

    Attributes:
        valid: (B, L) bool, tokens of the current sequence that are no padding.
        scored: (B, L) bool, those of them that scores may see: drafts that are only being verified are not.
        query: (B, L) bool, those of the query span; None where no stage reads it.
        masks: makes the layers' masks.
        here: layer -> columns that its input has.
        stored: layer -> columns whose keys it makes.
        past: the turns before; None in the first.
        tracks: modality -> its items' tokens.
    """

    valid: Tensor
    scored: Tensor
    query: Tensor | None
    masks: LayerMasks
    here: list[Columns | None]
    stored: list[Columns | None]
    past: Past | None = None
    tracks: dict[Modality, Track] = field(default_factory=dict)
    _length: int = field(init=False)
    _joined: dict[tuple[int, int], tuple[Columns | None, Columns | None, Columns]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._length = self.valid.shape[1]

    def keys(self, layer: int) -> Columns | None:
        """Columns of the conversation whose keys a layer holds once it has run; None for all.

        Layers that hold the same share the result.
        """
        stored = self.stored[layer]
        if self.past is None:
            return stored
        past = self.past.columns[layer]
        if past is None and stored is None:
            return None
        key = id(past), id(stored)
        if key not in self._joined:
            rows = len(self.valid)
            before = Columns.all(rows, self.past.length) if past is None else past.extended(self.past.length)
            new = Columns.all(rows, self._length) if stored is None else stored
            self._joined[key] = past, stored, before.joined(new)
        return self._joined[key][2]

    def enter(self, removed: Tensor) -> Columns:
        """Columns that enter the language model once those of ``removed`` (B, L) bool are gone."""
        columns = Columns.of(~removed & ~leading_padding(self.valid))
        self.stored[:] = [columns] * len(self.stored)
        self._renumber(columns, removed.shape[1])
        return columns

    def lose(self, layer: int, kept: Tensor) -> Columns:
        """Columns left from a layer on, of ``kept`` (B, L) bool of the current sequence."""
        later = Columns.of(kept & ~leading_padding(self.valid))
        here, stored = self.here[layer], self.stored[layer]
        behind = len(self.here) - layer
        self.here[layer:] = [later if here is None else here.then(later)] * behind
        self.stored[layer:] = [later if stored is None else stored.then(later)] * behind
        self._renumber(later, kept.shape[1])
        return later

    def _renumber(self, columns: Columns, length: int) -> None:
        """Bring everything that counts in columns of a sequence of ``length`` to the columns that are left of it."""
        at = columns.index.clamp_min(0)
        self.valid = self.valid.gather(1, at) & columns.valid
        self.scored = self.scored.gather(1, at) & columns.valid
        if self.query is not None:
            self.query = self.query.gather(1, at) & columns.valid
        # new_place[row, old column] = new column
        new_place = torch.full((len(at), length), -1, dtype=torch.long)
        row, new = columns.valid.nonzero(as_tuple=True)
        new_place[row, columns.index[row, new]] = new
        for track in self.tracks.values():
            old = track.batch_column.clamp_min(0)
            moved = new_place[track.batch_row[:, None].expand_as(old), old]
            track.column = torch.where(track.host_valid, moved, -1)
