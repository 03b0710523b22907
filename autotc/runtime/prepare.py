"""Input stages: `configure` wraps a processor so that it shrinks media and remembers their uncompressed grids."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature

from autotc.errors import InputsError
from autotc.mechanisms import Modality
from autotc.mechanisms.transformation.downsample import Downsample
from autotc.policy import Policy

Grid = tuple[int, int, int]

_MARK = "autotc_original_grids"
_MARKED: dict[Modality, str] = {
    "image": "image_grid_thw",
    "video": "video_grid_thw",
    "audio": "feature_attention_mask",
}
"""Tensor of a processor's output that tells the shape of a modality's items."""


def original_grids(modality: Modality, arguments: Mapping[str, Any]) -> list[Grid] | None:
    """Uncompressed unit grids that `configure` left on a request; None where it did not."""
    grids = getattr(arguments.get(_MARKED[modality]), _MARK, None)
    return None if grids is None else list(grids)


class PreparedInputs(BatchFeature):  # type: ignore[misc]
    """A processor's output that keeps its marks when it moves to another device or dtype."""

    def to(self, *args: Any, **kwargs: Any) -> PreparedInputs:
        marks = {name: getattr(self[name], _MARK, None) for name in _MARKED.values() if name in self}
        super().to(*args, **kwargs)
        for name, grids in marks.items():
            if grids is not None:
                setattr(self[name], _MARK, grids)
        return self


def configure(processor: Any, policy: Policy | str | Path) -> Callable[..., Any]:
    """The processor with the policy's input stages built in; call it as the processor.

    Each image or video is resized so that the processor's own rounding leaves keep ratio x N0 tokens, as near as its
    grid allows, where N0 is what the processor would have made of it; of audio, mel frames are averaged, as a longer
    hop would. Without an input stage the processor itself comes back.

    Raises:
        PolicyError: the policy is malformed.
    """
    if isinstance(policy, (str, Path)):
        policy = Policy.load(policy)
    stages = {s.modality: s for s in policy.stages if s.location == "input"}
    if not stages:
        return processor  # type: ignore[no-any-return]
    return _Configured(processor, {m: (s.build(), s.final_ratio) for m, s in stages.items()})


class _Configured:
    def __init__(self, processor: Any, stages: Mapping[str, tuple[Any, float]]) -> None:
        self._processor, self._stages = processor, stages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, *args: Any, **kwargs: Any) -> PreparedInputs:
        grids: dict[Modality, list[Grid]] = {}
        places: tuple[tuple[str, Modality], ...] = (("images", "image"), ("videos", "video"))
        for key, modality in places:
            media = kwargs.get(key)
            if media is None or modality not in self._stages:
                continue
            media = media if isinstance(media, (list, tuple)) else [media]
            if any(isinstance(m, (list, tuple)) for m in media):
                media = [m for group in media for m in (group if isinstance(group, (list, tuple)) else [group])]
            kwargs[key], grids[modality] = self._shrink(modality, media, kwargs)
            sized = dict(kwargs.get(f"{key}_kwargs", {}))
            sized["size"] = {"shortest_edge": 1, "longest_edge": 1 << 40}
            kwargs[f"{key}_kwargs"] = sized
        processor = self._processor
        if kwargs.get("audio") is not None and "audio" in self._stages:
            processor = copy.copy(processor)
            processor.feature_extractor = _ShorterMel(processor.feature_extractor, *self._stages["audio"])
        output = PreparedInputs(dict(processor(*args, **kwargs)))
        if processor is not self._processor:
            grids["audio"] = processor.feature_extractor.grids
        for modality, values in grids.items():
            name = _MARKED[modality]
            if not isinstance(output[name], Tensor):
                raise InputsError(f"{name}: return_tensors='pt' is needed with an input stage")
            setattr(output[name], _MARK, values)
        return output

    def _shrink(
        self, modality: Modality, media: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], list[Grid]]:
        """Resized media, and the unit grids they would have had."""
        downsample, ratio = self._stages[modality]
        processor = self._processor.image_processor if modality == "image" else self._processor.video_processor
        side = processor.patch_size * processor.merge_size
        extra = dict(kwargs.get("images_kwargs" if modality == "image" else "videos_kwargs", {}))
        out, grids = [], []
        for item in media:
            frames = _frames(item)
            if modality == "image":
                whole = processor(images=[item], return_tensors="pt", **extra)["image_grid_thw"][0]
            else:
                whole = processor(videos=[item], return_tensors="pt", **extra)["video_grid_thw"][0]
            grid = (int(whole[0]), int(whole[1]) // processor.merge_size, int(whole[2]) // processor.merge_size)
            grids.append(grid)
            new_t, new_y, new_x = downsample.target_grid(grid, ratio, modality)
            resized = _resize(frames, new_y * side, new_x * side)
            if modality == "video" and new_t != grid[0]:
                take = np.linspace(0, len(frames) - 1, new_t * processor.temporal_patch_size).round().astype(int)
                resized = resized[torch.from_numpy(take)]
            array = resized.permute(0, 2, 3, 1).numpy()
            out.append(array[0] if modality == "image" else array)
        return out, grids


class _ShorterMel:
    """A feature extractor whose clips are averaged to fewer mel frames."""

    def __init__(self, extractor: Any, downsample: Downsample, ratio: float) -> None:
        self._extractor, self._downsample, self._ratio = extractor, downsample, ratio
        self.grids: list[Grid] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._extractor, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["return_tensors"] = "pt"
        output = self._extractor(*args, **kwargs)
        features, mask = output["input_features"], output["attention_mask"]
        for i, frames in enumerate(mask.sum(1).tolist()):
            count = ((frames - 1) // 2 + 1 - 2) // 2 + 1
            self.grids.append((count, 1, 1))
            target = self._downsample.target_grid((count, 1, 1), self._ratio, "audio")[0]
            if target == count:
                continue
            short = 4 * target
            averaged = torch.nn.functional.adaptive_avg_pool1d(features[i : i + 1, :, :frames], short)
            features[i] = 0
            features[i, :, :short] = averaged[0]
            mask[i] = 0
            mask[i, :short] = 1
        return output


def _frames(item: Any) -> Tensor:
    """Pictures or videos as (T, 3, H, W) uint8."""
    array = np.asarray(item.convert("RGB") if hasattr(item, "convert") else item)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4:
        raise InputsError(f"media of shape {array.shape}; (H, W, 3) or (T, H, W, 3) is expected")
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor if tensor.shape[1] == 3 and tensor.shape[3] != 3 else tensor.permute(0, 3, 1, 2)


def _resize(frames: Tensor, height: int, width: int) -> Tensor:
    resized = torch.nn.functional.interpolate(
        frames.float(), size=(height, width), mode="bicubic", antialias=True, align_corners=False
    )
    return resized.round().clamp(0, 255).to(torch.uint8)
