"""A model under a policy: its towers' outputs reduced, and positions as in the uncompressed prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from vllm.multimodal.inputs import (
    MultiModalBatchedField,
    MultiModalFeatureSpec,
    MultiModalFieldElem,
    MultiModalKwargsItem,
    PlaceholderRange,
)
from vllm.utils.gpu_sync_debug import gpu_sync_allowed

from autotc.models import Item
from autotc.serve.vllm.processing import geometry
from autotc.serve.vllm.reducing import Encoded, reduce_items
from autotc.serve.vllm.sections import CHANNELS, Section, take_positions, with_positions
from autotc.serve.vllm.serving import Serving
from autotc.serve.vllm.towers import WatchedTower
from autotc.vocabulary import Modality

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.model_executor.models.interfaces import MultiModalEmbeddings
    from vllm.model_executor.models.interfaces_base import VllmModelForTextGeneration
    from vllm.multimodal.inputs import NestedTensors
    from vllm.sequence import IntermediateTensors
    from vllm.v1.worker.encoder_cudagraph_defs import EncoderCudaGraphConfig

    from autotc.runtime.towers import TowerRun

_LAYOUT = "autotc_layout"


@dataclass(frozen=True)
class _Layout:
    """Where a request's items stand in its prompt.

    Attributes:
        columns: (R,) long, ascending: columns that features go to.
        bases: (R,) long: of each, the position that the item begins at; -1 where its own stands already.
        delta: what is added to the number of tokens for the position of an answer's.
    """

    columns: Tensor
    bases: Tensor
    delta: int


class _Uncompressed:
    """A prompt as it would be without the policy, put together item by item.

    Args:
        tokens: the prompt's.

    Attributes:
        ids: so far.
        features: its items, where they stand in it.
        source: (L,) long: for each token of the prompt, the one whose position it takes.
        known: (L,) bool: whether that is its own; else it is the item's first.
        columns: of each item, tokens of the prompt that features go to.
    """

    def __init__(self, tokens: list[int]) -> None:
        self._tokens, self._done = tokens, 0
        self.ids: list[int] = []
        self.features: list[MultiModalFeatureSpec] = []
        self.source = torch.zeros(len(tokens), dtype=torch.long)
        self.known = torch.ones(len(tokens), dtype=torch.bool)
        self.columns: list[Tensor] = []

    def _copy(self, end: int) -> None:
        """Take over the tokens up to ``end`` as they are."""
        start, count = len(self.ids), end - self._done
        self.source[self._done : end] = torch.arange(start, start + count)
        self.ids += self._tokens[self._done : end]
        self._done = end

    def add(self, feature: MultiModalFeatureSpec, ids: list[int]) -> None:
        """Put in an item whose uncompressed stretch has these ids, and the text in front of it."""
        place = feature.mm_position
        self._copy(place.offset)
        start, end = len(self.ids), place.offset + place.length
        if len(ids) == place.length:
            held = torch.ones(place.length, dtype=torch.bool) if place.is_embed is None else place.is_embed.bool()
            self.columns.append(place.offset + held.nonzero()[:, 0])
            self._copy(end)
        else:
            self.columns.append(torch.arange(place.offset, end))
            self.source[place.offset : end] = start
            self.known[place.offset : end] = False
            self.ids += ids
            self._done = end
        self.features.append(replace(feature, mm_position=PlaceholderRange(offset=start, length=len(ids))))

    def end(self) -> None:
        """Take over the text behind the last item."""
        self._copy(len(self._tokens))


class ServedModel:
    """What a policy changes in a family's model; stands in front of vLLM's class for the family.

    Rows of reduced items carry their positions behind their embedding (`CHANNELS`), relative to their item's first;
    the engine hands them back when a prompt that holds the item is computed (`recompute_mrope_positions`), where they
    get absolute. So an item is encoded and reduced once, whatever prompt it stands in and wherever it is cut.

    Class attributes:
        tower: name of the module that holds the tower's blocks.
        attention: name in a block of its attention, and in that of the layer that makes queries, keys and values.
    """

    supports_multimodal_pruning: ClassVar[bool] = True
    supports_mrope: ClassVar[bool] = True
    tower: ClassVar[str]
    attention: ClassVar[tuple[str, str]]

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        serving = Serving.of(vllm_config.model_config.hf_config)
        assert serving is not None  # the class is chosen where a policy is served
        self.serving = serving
        # What vLLM's own class would do where its own pruning is on.
        self.is_multimodal_pruning_enabled = False
        self._width = serving.bound.decoder.width
        self._watched = {
            modality: WatchedTower(serving, modality, self.get_submodule(self.tower), *self.attention)  # type: ignore[attr-defined]
            for modality in serving.modalities
            if serving.tower_scores(modality)
        }

    def items(self, modality: Modality, fields: Mapping[str, NestedTensors]) -> list[Item]:
        """Geometry of a batch's items, from the model's arguments for them."""
        return geometry(self.serving, modality, fields)

    # --- encoding ---

    def embed_multimodal(self, **kwargs: NestedTensors) -> MultiModalEmbeddings:
        """Embeddings of each item: of those that the policy reduces what is left, positions behind it."""
        told = {name: value for name, value in kwargs.items() if name.startswith("autotc_")}
        inner = {name: value for name, value in kwargs.items() if name not in told}
        modality = next((m for m in self.serving.modalities if self.serving.fields(m).section in told), None)
        if modality is None:
            return super().embed_multimodal(**inner)  # type: ignore[misc]
        names = self.serving.fields(modality)
        items = self.items(modality, kwargs)
        if all(self.serving.left(item) == item.count for item in items):
            return super().embed_multimodal(**inner)  # type: ignore[misc]
        watched = self._watched.get(modality)
        unwatched: AbstractContextManager[list[TowerRun]] = nullcontext([])
        with unwatched if watched is None else watched.watching(items) as towers:
            rows = [self._flat(each) for each in super().embed_multimodal(**inner)]  # type: ignore[misc]
        placeholder = self.serving.bound.placeholders[modality]
        sections = [
            Section(item, ids.cpu(), placeholder) for item, ids in zip(items, kwargs[names.section], strict=True)
        ]
        queries = [self._embedded(ids) for ids in kwargs.get(names.query, ())]
        encoded = Encoded(sections, rows, self._width, queries, towers[0] if towers else None)
        with gpu_sync_allowed():
            reduced = reduce_items(self.serving, modality, encoded)
            out = []
            for i, (section, whole, (left, units)) in enumerate(zip(sections, rows, reduced, strict=True)):
                if len(left) == section.item.count:
                    out.append(whole)
                    continue
                positions = self._relative(modality, section, kwargs, i)
                out.append(self._laid_out(section, whole, left, units, positions))
        return tuple(out)

    @staticmethod
    def _flat(rows: Tensor) -> Tensor:
        return rows.reshape(-1, rows.shape[-1])

    def _embedded(self, ids: Tensor) -> Tensor:
        """(T, width): the language model's embeddings of tokens."""
        model: VllmModelForTextGeneration = self.get_language_model()  # type: ignore[attr-defined]
        out: Tensor = model.embed_input_ids(ids.to(next(model.parameters()).device))
        return out

    def _laid_out(self, section: Section, whole: Tensor, left: Tensor, units: Tensor, positions: Tensor) -> Tensor:
        """An item's whole stretch: survivors and structure in the prompt's order, with their positions behind them.

        Args:
            section: of the item.
            whole: (R, W) features of its embedded tokens, before anything was reduced.
            left: (M, W) the survivors'.
            units: (M,) long on the host, whose positions they take.
            positions: (3, L) long on the host, of the uncompressed stretch.
        """
        structure = section.structure
        if len(structure):
            row = torch.full((len(section.ids),), -1)
            row[section.embedded] = torch.arange(len(section.embedded))
            inside = row[structure]
            kept = whole.new_zeros(len(structure), whole.shape[1])
            featured = inside >= 0
            if bool(featured.any()):
                kept[featured.to(kept.device)] = whole.index_select(0, inside[featured].to(whole.device))
            if not bool(featured.all()):
                text = self._embedded(section.ids[structure[~featured]])
                kept[(~featured).to(kept.device), : self._width] = text.to(kept.dtype)
            left = torch.cat([kept, left])
        slots = torch.cat([structure, section.units[units]])
        order = slots.argsort()
        return with_positions(left.index_select(0, order.to(left.device)), positions[:, slots[order]])

    # --- positions ---

    def positions(self, ids: list[int], features: Sequence[MultiModalFeatureSpec]) -> Tensor:
        """(3, L) long: positions of an uncompressed prompt, by the family's own rule."""
        positions: Tensor = super().get_mrope_input_positions(ids, list(features))[0]  # type: ignore[misc]
        return positions

    def _relative(
        self, modality: Modality, section: Section, fields: Mapping[str, NestedTensors], index: int
    ) -> Tensor:
        """(3, L) long: positions of an item's stretch, from its first."""
        elements = {
            name: MultiModalFieldElem(data=torch.as_tensor(value[index]).cpu(), field=MultiModalBatchedField())
            for name, value in fields.items()
            if name in ("image_grid_thw", "video_grid_thw", "second_per_grid_ts")
        }
        place = PlaceholderRange(offset=0, length=len(section.ids))
        feature = MultiModalFeatureSpec(
            data=MultiModalKwargsItem(elements), modality=modality, identifier="", mm_position=place
        )
        return self.positions(section.ids.tolist(), [feature])

    def get_mrope_input_positions(
        self, input_tokens: list[int], mm_features: list[MultiModalFeatureSpec]
    ) -> tuple[Tensor, int]:
        """Positions of a prompt: of the uncompressed one, those of reduced items known once they are encoded.

        Returns:
            (3, L) long, where the tokens of a reduced item have the position that the item begins at; and what is
            added to the number of tokens for the position of an answer's.
        """
        whole = _Uncompressed(input_tokens)
        for feature in sorted(mm_features, key=lambda each: each.mm_position.offset):
            whole.add(feature, self._uncompressed(feature, input_tokens))
        whole.end()
        positions = self.positions(whole.ids, whole.features)
        out = positions[:, whole.source].contiguous()
        delta = int(positions.max()) + 1 - len(input_tokens) if whole.ids else 0
        columns = torch.cat([torch.empty(0, dtype=torch.long), *whole.columns])
        setattr(out, _LAYOUT, _Layout(columns, torch.where(whole.known[columns], -1, out[0, columns]), delta))
        return out, delta

    def _uncompressed(self, feature: MultiModalFeatureSpec, tokens: list[int]) -> list[int]:
        """Ids of an item's stretch of the prompt as it would be without the policy."""
        place = feature.mm_position
        names = self.serving.fields(feature.modality)
        if names.section in feature.data:
            ids: list[int] = feature.data[names.section].data.tolist()
            return ids
        return tokens[place.offset : place.offset + place.length]

    def recompute_mrope_positions(
        self,
        input_ids: list[int] | Tensor,
        multimodal_embeddings: Sequence[Tensor],
        mrope_positions: Tensor,
        num_computed_tokens: int,
    ) -> tuple[Sequence[Tensor], Tensor, int]:
        """Take positions off the embeddings of a part of a prompt, and put them where they belong.

        Args:
            input_ids: (L) the prompt's.
            multimodal_embeddings: of the items in this part, of each what stands in it.
            mrope_positions: (3, L) long, of the whole prompt.
            num_computed_tokens: tokens in front of this part.

        Returns:
            Embeddings alone; positions; and what is added to the number of tokens for the position of an answer's.
        """
        layout: _Layout | None = getattr(mrope_positions, _LAYOUT, None)
        delta = self._delta(mrope_positions) if layout is None else layout.delta
        if not multimodal_embeddings:
            return multimodal_embeddings, mrope_positions, delta
        if layout is None:
            layout = self._found(input_ids, mrope_positions, delta)
        embeddings, out = [], mrope_positions.clone()
        start = int(torch.searchsorted(layout.columns, num_computed_tokens))
        for rows in multimodal_embeddings:
            end = start + len(rows)
            if rows.shape[1] % self._width != CHANNELS:
                embeddings.append(rows)
            else:
                with gpu_sync_allowed():
                    inner, relative = take_positions(rows)
                    absolute = relative.to(out.device) + layout.bases[start:end].to(out.device)
                embeddings.append(inner)
                out[:, layout.columns[start:end].to(out.device)] = absolute
            start = end
        setattr(out, _LAYOUT, layout)
        return embeddings, out, delta

    @staticmethod
    def _delta(positions: Tensor) -> int:
        with gpu_sync_allowed():
            return int(positions.max()) + 1 - positions.shape[1]

    def _found(self, input_ids: list[int] | Tensor, positions: Tensor, delta: int) -> _Layout:
        """The layout of a prompt whose positions the engine has copied: items begin where their columns say."""
        with gpu_sync_allowed():
            ids = torch.as_tensor(input_ids).cpu()
            held = torch.isin(ids, torch.tensor(list(self.serving.bound.placeholders.values())))
            columns = held.nonzero()[:, 0]
            return _Layout(columns, positions[0].cpu()[columns], delta)

    # --- what the engine would do around `embed_multimodal` ---

    def get_encoder_cudagraph_config(self) -> EncoderCudaGraphConfig:
        """Graphs of the tower would leave out what is done behind it."""
        return replace(super().get_encoder_cudagraph_config(), modalities=[])  # type: ignore[misc]


class SingleRow:
    """Positions of one row, which the engine takes from a model as the three equal rows of M-RoPE."""

    def positions(self, ids: list[int], features: Sequence[MultiModalFeatureSpec]) -> Tensor:
        """(3, L) long: a token's place in the prompt, three times."""
        return torch.arange(len(ids)).expand(3, -1)

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: object,
    ) -> Tensor | IntermediateTensors:
        """The model with its positions as one row."""
        row = positions[0] if positions.dim() == 2 else positions
        return super().forward(input_ids, row, intermediate_tensors, inputs_embeds, **kwargs)  # type: ignore[misc]
