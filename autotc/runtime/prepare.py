"""Input stages: `configure` wraps a processor so that it shrinks media and remembers their uncompressed token counts."""

from __future__ import annotations

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

_MARK = "autotc_original_counts"
_GRIDS = ("image_grid_thw", "video_grid_thw")


def original_counts(arguments: Mapping[str, Any]) -> list[int] | None:
    """Uncompressed token counts that `configure` left on the grids; None where it did not."""
    for name in _GRIDS:
        counts = getattr(arguments.get(name), _MARK, None)
        if counts is not None:
            return list(counts)
    return None


class PreparedInputs(BatchFeature):  # type: ignore[misc]
    """A processor's output that keeps its marks when it moves to another device or dtype."""

    def to(self, *args: Any, **kwargs: Any) -> PreparedInputs:
        marks = {name: getattr(self[name], _MARK, None) for name in _GRIDS if name in self}
        super().to(*args, **kwargs)
        for name, counts in marks.items():
            if counts is not None:
                setattr(self[name], _MARK, counts)
        return self


def configure(processor: Any, policy: Policy | str | Path) -> Callable[..., Any]:
    """The processor with the policy's input stages built in; call it as the processor.

    Each image or video is resized so that the processor's own rounding leaves keep ratio x N0 tokens, as near as its grid
    allows, where N0 is what the processor would have made of it. Without an input stage the processor itself comes back.

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
        counts: dict[str, list[int]] = {}
        places: tuple[tuple[str, Modality], ...] = (("images", "image"), ("videos", "video"))
        for key, modality in places:
            media = kwargs.get(key)
            if media is None or modality not in self._stages:
                continue
            downsample, ratio = self._stages[modality]
            media = media if isinstance(media, (list, tuple)) else [media]
            if any(isinstance(m, (list, tuple)) for m in media):
                media = [m for group in media for m in (group if isinstance(group, (list, tuple)) else [group])]
            shrunk, counts[f"{modality}_grid_thw"] = self._shrink(modality, media, downsample, ratio, kwargs)
            kwargs[key] = shrunk
            sized = dict(kwargs.get(f"{key}_kwargs", {}))
            sized["size"] = {"shortest_edge": 1, "longest_edge": 1 << 40}
            kwargs[f"{key}_kwargs"] = sized
        output = PreparedInputs(dict(self._processor(*args, **kwargs)))
        for name, values in counts.items():
            if not isinstance(output[name], Tensor):
                raise InputsError(f"{name}: return_tensors='pt' is needed with an input stage")
            setattr(output[name], _MARK, values)
        return output

    def _shrink(
        self, modality: Modality, media: Sequence[Any], downsample: Downsample, ratio: float, kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], list[int]]:
        processor = self._processor.image_processor if modality == "image" else self._processor.video_processor
        side = processor.patch_size * processor.merge_size
        extra = dict(kwargs.get("images_kwargs" if modality == "image" else "videos_kwargs", {}))
        out, counts = [], []
        for item in media:
            frames = _frames(item)
            if modality == "image":
                whole = processor(images=[item], return_tensors="pt", **extra)["image_grid_thw"][0]
            else:
                whole = processor(videos=[item], return_tensors="pt", **extra)["video_grid_thw"][0]
            t, y, x = int(whole[0]), int(whole[1]) // processor.merge_size, int(whole[2]) // processor.merge_size
            counts.append(t * y * x)
            new_t, new_y, new_x = downsample.target_grid((t, y, x), ratio, modality)
            resized = _resize(frames, new_y * side, new_x * side)
            if modality == "video" and new_t != t:
                take = np.linspace(0, len(frames) - 1, new_t * processor.temporal_patch_size).round().astype(int)
                resized = resized[torch.from_numpy(take)]
            array = resized.permute(0, 2, 3, 1).numpy()
            out.append(array[0] if modality == "image" else array)
        return out, counts


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
