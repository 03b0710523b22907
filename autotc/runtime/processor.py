"""Input stages: `configure` wraps a processor so that it shrinks media and remembers what they were."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BatchFeature

from autotc.errors import InputsError, PolicyError
from autotc.models import Adapter, find_processor_adapter, processor_adapter
from autotc.models.cut import Cut
from autotc.models.media import Medium, Shrink, mark, marked
from autotc.policy import Policy, read_policy
from autotc.vocabulary import Modality

_PLACES: tuple[tuple[str, Modality], ...] = (("images", "image"), ("videos", "video"))


class PreparedInputs(BatchFeature):  # type: ignore[misc]
    """A processor's output that keeps its marks when it moves to another device or dtype."""

    def to(self, *args: Any, **kwargs: Any) -> PreparedInputs:
        marks = {name: marked(value) for name, value in self.items()}
        super().to(*args, **kwargs)
        for name, originals in marks.items():
            if originals is not None:
                mark(self[name], originals)
        return self


def configure(processor: Any, policy: Policy | str | Path) -> Callable[..., Any]:
    """The processor with the policy's input stages built in; call it as the processor.

    What is done is the family's own (`Adapter.prepare`): pictures and videos are resized, or frames left out, so that
    the processor's own rounding and tiling leave keep ratio x N0 tokens, as near as its settings come, where N0 is what
    it would have made of them; of audio, mel frames are averaged, as a longer hop would. Without an input stage the
    processor itself comes back.

    Raises:
        PolicyError: the policy is malformed, or the family offers no such input stage.
        UnsupportedModelError: no adapter knows the processor.

    Example:
        >>> processor = autotc.configure(processor, "policy.yaml")  # doctest: +SKIP
        >>> with autotc.apply(model, "policy.yaml"):  # doctest: +SKIP
        ...     model.generate(**processor(text=prompt, images=[picture], return_tensors="pt"))
    """
    policy = read_policy(policy)
    stages = {s.modality: s for s in policy.stages if s.location == "input"}
    if not stages:
        return processor  # type: ignore[no-any-return]
    inner = processor.processor if isinstance(processor, _Configured) else processor
    adapter = find_processor_adapter(inner)
    for modality in stages:
        reason = adapter.refused.get(modality, {}).get("input")
        if reason is not None or modality not in adapter.locations:
            why = reason or f"it has {', '.join(adapter.locations)}"
            raise PolicyError(f"input: {adapter.family} offers no input stage for {modality}; {why}")
    asked: dict[Modality, Shrink] = {}
    for modality, stage in stages.items():
        asked[modality] = Shrink(stage.input_mechanism(), stage.final_ratio)
    return _Configured(inner, adapter, asked)


def tracked(processor: Any) -> Any:
    """The processor, whose outputs also tell `prefill_cost` what an input stage could make of them.

    That is the processor itself where the model's inputs tell it; pictures that are cut into tiles are noted.
    """
    if isinstance(processor, _Configured):
        return processor
    adapter = processor_adapter(processor)
    return _Configured(processor, adapter, {}) if isinstance(adapter, Cut) else processor


class _Configured:
    """A processor that is called with what its adapter makes of the media.

    Args:
        processor: of the checkpoint.
        adapter: of its family.
        stages: input stages by modality.
    """

    def __init__(self, processor: Any, adapter: Adapter, stages: Mapping[Modality, Shrink]) -> None:
        self.processor, self._adapter, self._stages = processor, adapter, stages

    def __getattr__(self, name: str) -> Any:
        return getattr(self.processor, name)

    def __call__(self, *args: Any, **kwargs: Any) -> PreparedInputs:
        originals: dict[Modality, list[Medium]] = {}
        for key, modality in _PLACES:
            if kwargs.get(key) is None:
                continue
            groups, rebuilt = _grouped(kwargs[key])
            media = [medium for group in groups for medium in group]
            alone = [len(group) == 1 for group in groups for _ in group]
            own = dict(kwargs.get(f"{key}_kwargs", {}))
            flat = {k: v for k, v in kwargs.items() if k not in _CALL and not k.endswith("_kwargs")}
            prepared = self._adapter.prepare(
                self.processor, modality, media, alone, {**flat, **own}, self._stages.get(modality)
            )
            if prepared is None:
                continue
            kwargs[key], originals[modality] = rebuilt(prepared.media), prepared.originals
            if prepared.settings:
                kwargs[f"{key}_kwargs"] = {**own, **prepared.settings}
        processor = self.processor
        if kwargs.get("audio") is not None and "audio" in self._stages:
            processor = copy.copy(processor)
            processor.feature_extractor = _ShorterMel(processor.feature_extractor, self._adapter, self._stages["audio"])
        output = PreparedInputs(dict(processor(*args, **kwargs)))
        if processor is not self.processor:
            originals["audio"] = processor.feature_extractor.originals
        for modality, media in originals.items():
            name = self._adapter.shape_inputs()[modality]
            if not isinstance(output[name], Tensor):
                raise InputsError(f"{name}: return_tensors='pt' is needed with an input stage")
            mark(output[name], media)
        return output


_CALL = ("images", "videos", "audio", "text", "return_tensors", "padding", "padding_side", "truncation", "max_length")
"""Arguments of a call that are none of a modality's processor."""


def _grouped(media: Any) -> tuple[list[list[Any]], Callable[[list[Any]], Any]]:
    """Media by prompt, and what brings others of their number into the form they were given in.

    A flat list is of one medium a prompt, as the processors take it.
    """
    if not isinstance(media, (list, tuple)):
        return [[media]], lambda new: new[0]
    if not any(isinstance(m, (list, tuple)) for m in media):
        return [[m] for m in media], list
    groups = [list(m) if isinstance(m, (list, tuple)) else [m] for m in media]

    def rebuilt(new: list[Any]) -> list[list[Any]]:
        rest = iter(new)
        return [[next(rest) for _ in group] for group in groups]

    return groups, rebuilt


class _ShorterMel:
    """A feature extractor whose clips are averaged to fewer mel frames."""

    def __init__(self, extractor: Any, adapter: Adapter, stage: Shrink) -> None:
        self._extractor, self._adapter, self._stage = extractor, adapter, stage
        self.originals: list[Medium] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._extractor, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["return_tensors"] = "pt"
        output = self._extractor(*args, **kwargs)
        features, mask = output["input_features"], output["attention_mask"]
        for i, frames in enumerate(mask.sum(1).tolist()):
            count = self._adapter.clip_units(int(frames))
            self.originals.append(Medium((count, 1, 1), count))
            target = self._adapter.shrunk_clip(self._stage, count)
            if target == count:
                continue
            short = self._adapter.clip_frames(target)
            averaged = torch.nn.functional.adaptive_avg_pool1d(features[i : i + 1, :, :frames], short)
            features[i] = 0
            features[i, :, :short] = averaged[0]
            mask[i] = 0
            mask[i, :short] = 1
        return output
