"""Lay out prompts for a policy: as many placeholders as will be left, and what the model has to know of each item."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from vllm.multimodal.inputs import MultiModalBatchedField, MultiModalFieldConfig, MultiModalFieldElem
from vllm.multimodal.processing import PromptUpdateDetails

from autotc.errors import InputsError
from autotc.models import Item
from autotc.models.media import Prepared, decode_originals, encode_originals
from autotc.serve.support import STAMPED
from autotc.serve.vllm.sections import Section
from autotc.serve.vllm.serving import Serving
from autotc.serve.vllm.tally import Tally
from autotc.vocabulary import Modality

if TYPE_CHECKING:
    from transformers import BatchFeature
    from vllm.multimodal.inputs import MultiModalKwargsItem, MultiModalKwargsItems, NestedTensors
    from vllm.multimodal.parse import MultiModalDataItems
    from vllm.multimodal.processing import BaseDummyInputsBuilder, BaseProcessingInfo, ProcessorInputs, TimingContext
    from vllm.multimodal.processing.processor import (
        HFMultiModalInputs,
        MultiModalProcessingResult,
        MultiModalPromptUpdates,
    )

VideoMetadata = Mapping[str, Any]
"""What vLLM is told of a video beside its frames."""
_PLACES: tuple[tuple[str, Modality], ...] = (("images", "image"), ("videos", "video"))


@dataclass
class _Prompt:
    """The prompt that is being laid out.

    Attributes:
        query: (T,) long, ids of its query span; None where no stage reads it.
        originals: modality -> what its media were before their input stage, as `encode_originals` writes them.
    """

    query: Tensor | None = None
    originals: dict[Modality, Tensor] = field(default_factory=dict)


_PROMPT: ContextVar[_Prompt | None] = ContextVar("autotc_prompt", default=None)


def batched(fields: MultiModalKwargsItem) -> dict[str, NestedTensors]:
    """An item's fields as the model gets those of a batch of one."""
    return {name: [element.data] for name, element in fields.items()}


class ServedProcessor:
    """What a policy changes in how a family's prompts are processed; stands in front of vLLM's class for the family."""

    def __init__(self, info: BaseProcessingInfo, dummy_inputs: BaseDummyInputsBuilder) -> None:
        super().__init__(info, dummy_inputs)  # type: ignore[call-arg]
        serving = Serving.of(info.get_hf_config())
        assert serving is not None  # the class is chosen where a policy is served
        self.serving = serving
        self._tally = Tally(serving)

    def items(self, modality: Modality, fields: Mapping[str, NestedTensors]) -> list[Item]:
        """Geometry of a batch's items, from the model's arguments for them."""
        return geometry(self.serving, modality, fields)

    def stretch(self, item: Item, ids: list[int]) -> list[int]:
        """Ids of an item's stretch of the prompt behind its input stage, of those that the engine lays out for it."""
        return ids

    # --- what caches tell apart ---

    def _get_mm_hashes(self, inputs: ProcessorInputs) -> dict[str, list[str]]:
        """Identities under which items are cached: also by policy, and by the query where survivors depend on it.

        Identities that a client gives are changed in the same way: it cannot know what else an item depends on.
        """
        hashes: dict[str, list[str]] = super()._get_mm_hashes(inputs)  # type: ignore[misc]
        out = dict(hashes)
        for modality in self.serving.modalities:
            if modality not in hashes:
                continue
            salt = self.serving.hash
            if self.serving.reads_query(modality):
                salt += ":" + ",".join(map(str, self._query(inputs).tolist()))
            out[modality] = [hashlib.sha256(f"autotc:{salt}:{each}".encode()).hexdigest() for each in hashes[modality]]
        return out

    def _query(self, inputs: ProcessorInputs) -> Tensor:
        """(T,) long: the prompt's query span.

        Raises:
            InputsError: it cannot be told from what else the engine will put into the prompt.
        """
        if self.serving.bound.architecture in STAMPED and inputs.mm_data_items.get_all_counts().get("video"):
            raise InputsError(
                "video: the policy reads the query of a prompt, of which the time stamps of a video's frames would be a"
                " part; ask about pictures without a video"
            )
        ids = torch.tensor([inputs.prompt])
        return ids[self.serving.bound.query_mask(ids, None)]

    def _cached_apply_hf_processor(
        self, inputs: ProcessorInputs, timing_ctx: TimingContext
    ) -> MultiModalProcessingResult:
        needed = any(self.serving.reads_query(m) for m in self.serving.modalities if inputs.mm_data_items.get(m))
        with _laid_out(_Prompt(self._query(inputs) if needed else None)):
            return super()._cached_apply_hf_processor(inputs, timing_ctx)  # type: ignore[misc]

    # --- input stages ---

    def _get_hf_mm_inputs(self, mm_items: MultiModalDataItems, hf_kwargs: Mapping[str, object]) -> HFMultiModalInputs:
        """What the processor is called with: pictures and videos as an input stage makes them smaller."""
        inputs = super()._get_hf_mm_inputs(mm_items, hf_kwargs)  # type: ignore[misc]
        prompt = _PROMPT.get()
        for key, modality in _PLACES:
            media = inputs.hf_data.get(key)
            shrink = self.serving.shrinks.get(modality)
            if shrink is None or not media:
                continue
            settings = dict(inputs.hf_kwargs.get(f"{key}_kwargs", {}))
            frames, rest = _without_metadata(media)
            prepared = self.serving.bound.adapter.prepare(
                self.info.get_hf_processor(),  # type: ignore[attr-defined]
                modality,
                frames,
                [len(media) == 1] * len(media),
                settings,
                shrink,
            )
            assert prepared is not None  # there is an input stage
            inputs.hf_data[key] = _with_metadata(prepared, frames, rest)
            inputs = inputs._replace(hf_kwargs={**inputs.hf_kwargs, f"{key}_kwargs": {**settings, **prepared.settings}})
            if prompt is not None:
                prompt.originals[modality] = encode_originals(prepared.originals)
        return inputs

    def _apply_hf_processor_main(self, mm_items: MultiModalDataItems, hf_kwargs: Mapping[str, object]) -> BatchFeature:
        prompt = _PROMPT.get() or _Prompt()
        with _laid_out(replace(prompt, originals={})) as inner:
            out = super()._apply_hf_processor_main(mm_items, hf_kwargs)  # type: ignore[misc]
        for modality, originals in inner.originals.items():
            out[self.serving.fields(modality).original] = originals
        return out

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> dict[str, MultiModalFieldConfig]:
        out = dict(super()._get_mm_fields_config(hf_inputs, hf_processor_mm_kwargs))  # type: ignore[misc]
        for modality in self.serving.shrinks:
            out[self.serving.fields(modality).original] = MultiModalFieldConfig.batched(modality, keep_on_cpu=True)
        return out

    # --- placeholders ---

    def _get_mm_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, object],
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> MultiModalPromptUpdates:
        """What stands in the prompt for each item: as many placeholders as the policy leaves tokens of it."""
        updates = super()._get_mm_prompt_updates(mm_items, hf_processor_mm_kwargs, out_mm_kwargs)  # type: ignore[misc]
        prompt = _PROMPT.get()
        for modality in self.serving.modalities:
            names = self.serving.fields(modality)
            for i, fields in enumerate(out_mm_kwargs.get(modality, [])):
                update = updates[modality][i][0]
                (item,) = self.items(modality, batched(fields))
                whole = self.stretch(item, update.content.full)
                ids = torch.tensor(whole)
                section = Section(item, ids, self.serving.bound.placeholders[modality])
                left = self.serving.left(item)
                self._tally.add(item, left)
                _ = section.embedded  # refuses what engine and policy count differently
                fields[names.section] = _element(ids)
                if self.serving.reads_query(modality):
                    query = prompt.query if prompt is not None and prompt.query is not None else ids[:0]
                    fields[names.query] = _element(query)
                if left < item.count or len(whole) != len(update.content.full):
                    # Where time stamps go among the tokens left is known once the item is encoded: the model lays out
                    # the whole stretch.
                    content = PromptUpdateDetails([section.placeholder] * section.length(left))
                    updates[modality][i] = [replace(each, content=content) for each in updates[modality][i]]
        return updates


@contextmanager
def _laid_out(prompt: _Prompt) -> Iterator[_Prompt]:
    token = _PROMPT.set(prompt)
    try:
        yield prompt
    finally:
        _PROMPT.reset(token)


def _element(data: Tensor) -> MultiModalFieldElem:
    return MultiModalFieldElem(data=data, field=MultiModalBatchedField(keep_on_cpu=True))


def geometry(serving: Serving, modality: Modality, fields: Mapping[str, NestedTensors]) -> list[Item]:
    """Geometry of a batch's items, from the model's arguments for them; with their counts from before an input stage.

    Args:
        serving: the policy.
        modality: of the items.
        fields: by name, of all items: a tensor, or a list of tensors of different shapes.

    Raises:
        InputsError: an argument that tells the shapes is missing, as where embeddings are given in place of pictures.
    """
    shape = serving.bound.adapter.shape_inputs()[modality]
    items = serving.bound.geometry(modality, {shape: _joined(given(fields, modality, shape))})
    return restored(serving, items, fields)


def given(fields: Mapping[str, NestedTensors], modality: Modality, name: str) -> NestedTensors:
    """One of the model's arguments.

    Raises:
        InputsError: it is missing.
    """
    if name not in fields:
        raise InputsError(f"{modality}: {name} is missing; a policy needs pictures or videos, not their embeddings")
    return fields[name]


def restored(serving: Serving, items: list[Item], fields: Mapping[str, NestedTensors]) -> list[Item]:
    """Items with the count that each medium had before its input stage, where it went through one."""
    originals = fields.get(serving.fields(items[0].modality).original) if items else None
    if originals is None:
        return items
    return serving.bound.adapter.restored(items, decode_originals(_joined(originals)))


def _joined(value: NestedTensors) -> NestedTensors:
    """Values of all items as one tensor, where they are of one shape."""
    if isinstance(value, Tensor):
        return value
    tensors = [torch.as_tensor(each) for each in value]
    return torch.stack(tensors) if len({tensor.shape for tensor in tensors}) == 1 else tensors


def _without_metadata(media: Sequence[object]) -> tuple[list[Sized], list[VideoMetadata | None]]:
    """Pictures, or videos as frames; and what vLLM tells of each video beside its frames."""
    pairs = [each if isinstance(each, tuple) else (each, None) for each in media]
    return [cast(Sized, frames) for frames, _ in pairs], [rest for _, rest in pairs]


def _with_metadata(prepared: Prepared, before: Sequence[Sized], rest: Sequence[VideoMetadata | None]) -> list[object]:
    """The smaller media as vLLM hands them on.

    Frames that are left of a video are numbered anew, at the rate that it had: so `autotc.configure` has them
    processed, and so they were measured.
    """
    out: list[object] = []
    for medium, frames, told in zip(prepared.media, before, rest, strict=True):
        if told is None:
            out.append(medium)
        elif (left := len(medium)) == len(frames):
            out.append((medium, told))
        else:
            shorter: dict[str, object] = {"total_num_frames": left, "frames_indices": list(range(left))}
            if told.get("fps"):
                shorter["duration"] = left / told["fps"]
            out.append((medium, {**told, **shorter}))
    return out
