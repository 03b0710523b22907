"""Input stages: `configure` wraps a processor so that it shrinks media and remembers what they were."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BatchFeature

from autotc.errors import InputsError, PolicyError
from autotc.models import Adapter, find_processor_adapter, processor_adapter
from autotc.models.media import Medium, Shrink, encode_originals, mark, marked, originals_key
from autotc.models.tiled_pictures import TiledPictures
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

    What the media were rides in the batch under a name of its own (`originals_key`), which `apply` reads and takes out
    before the model is called: so prepared inputs are for a model under the policy. They may be copied, moved, collated
    and pinned. The processor can be handed to ``pipeline`` and asked for ``apply_chat_template(tokenize=True)``.

    Args:
        processor: of the checkpoint.
        policy: a policy or the path of its file.

    Raises:
        PolicyError: the policy is malformed, or the family offers no such input stage.
        UnsupportedModelError: no adapter knows the processor.

    Example:
        Half of the tokens, by a smaller picture::

            processor = autotc.configure(processor, "policy.yaml")
            inputs = processor(text=prompt, images=[picture], return_tensors="pt")
            with autotc.apply(model, "policy.yaml"):
                model.generate(**inputs)
    """
    policy = read_policy(policy)
    stages = {s.modality: s for s in policy.stages if s.location == "input"}
    if not stages:
        return processor  # type: ignore[no-any-return]
    inner = processor.unconfigured if isinstance(processor, _Configured) else processor
    adapter = find_processor_adapter(inner)
    for modality in stages:
        reason = adapter.refused.get(modality, {}).get("input")
        if reason is not None or modality not in adapter.locations:
            why = reason or f"it has {', '.join(adapter.locations)}"
            raise PolicyError(f"input: {adapter.family} offers no input stage for {modality}; {why}")
    asked: dict[Modality, Shrink] = {}
    for modality, stage in stages.items():
        asked[modality] = Shrink(stage.input_mechanism(), stage.final_ratio)
    return _configured(inner, adapter, asked)  # type: ignore[no-any-return]


def tracked(processor: Any) -> Any:
    """The processor, whose outputs also tell `prefill_cost` what an input stage could make of them.

    That is the processor itself where the model's inputs tell it; pictures that are cut into tiles are noted.
    """
    if isinstance(processor, _Configured):
        return processor
    adapter = processor_adapter(processor)
    return _configured(processor, adapter, {}) if isinstance(adapter, TiledPictures) else processor


def _configured(processor: Any, adapter: Adapter, stages: Mapping[Modality, Shrink]) -> Any:
    """A processor of the same class that is called with what the adapter makes of the media.

    Of the same class, so that its own methods (chat templates that tokenize) and whoever asks what it is (pipelines)
    come back to it.
    """
    kind = type(processor)
    cls: Any = type(kind.__name__, (_Configured, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})
    out = cls.__new__(cls)
    out.__dict__.update(processor.__dict__)
    out.unconfigured, out.adapter_of_media, out.input_stages = processor, adapter, stages
    return out


class _Configured:
    """What `configure` adds to a processor's class.

    Attributes:
        unconfigured: the processor of the checkpoint.
        adapter_of_media: of its family.
        input_stages: by modality.
    """

    unconfigured: Any
    adapter_of_media: Adapter
    input_stages: Mapping[Modality, Shrink]

    def __reduce__(self) -> Any:
        return _configured, (self.unconfigured, self.adapter_of_media, self.input_stages)

    def to_dict(self) -> Any:
        """What is saved: the processor, not what was configured."""
        return self.unconfigured.to_dict()

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """Save the processor, not what was configured."""
        return self.unconfigured.save_pretrained(*args, **kwargs)

    def __repr__(self) -> str:
        return repr(self.unconfigured)

    def __call__(self, *args: Any, **kwargs: Any) -> PreparedInputs:
        inner, stages = self.unconfigured, self.input_stages
        kwargs = dict(zip(inspect.signature(inner.__call__).parameters, args, strict=False)) | kwargs
        originals: dict[Modality, list[Medium]] = {}
        for key, modality in _PLACES:
            if kwargs.get(key) is None:
                continue
            groups, rebuilt = _grouped(kwargs[key])
            media = [medium for group in groups for medium in group]
            alone = [len(group) == 1 for group in groups for _ in group]
            settings = dict(kwargs.get(f"{key}_kwargs") or {})
            flat = {k: v for k, v in kwargs.items() if k not in _CALL and not k.endswith("_kwargs")}
            prepared = self.adapter_of_media.prepare(
                inner, modality, media, alone, {**flat, **settings}, stages.get(modality)
            )
            if prepared is None:
                continue
            kwargs[key], originals[modality] = rebuilt(prepared.media), prepared.originals
            if prepared.settings:
                kwargs[f"{key}_kwargs"] = {**settings, **prepared.settings}
        processor = inner
        if kwargs.get("audio") is not None and "audio" in stages:
            processor = copy.copy(inner)
            processor.feature_extractor = _ShorterMel(inner.feature_extractor, self.adapter_of_media, stages["audio"])
        output = PreparedInputs(dict(processor(**kwargs)))
        if processor is not inner:
            originals["audio"] = processor.feature_extractor.originals
        for modality, media in originals.items():
            name = self.adapter_of_media.shape_inputs()[modality]
            if not isinstance(output[name], Tensor):
                raise InputsError(f"{name}: return_tensors='pt' is needed with an input stage")
            mark(output[name], media)
            if modality in stages:
                output[originals_key(modality)] = encode_originals(media)
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
