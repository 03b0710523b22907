"""What processors make of media, and how an input stage makes less of them: shared by the families' adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autotc.errors import InputsError
from autotc.lazy import Tensor, torch
from autotc.mechanisms import InputMechanism
from autotc.vocabulary import Modality

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Tiling:
    """One form that a processor can give a picture that it cuts into tiles.

    Attributes:
        tiles: that it becomes.
        structure: tokens of the prompt that stand for it and are none of its own: marks of tiles, newlines.
        size: (height, width) in pixels that it is resized to, so that the processor makes this of it.
    """

    tiles: int
    structure: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Medium:
    """One medium of a request, as the processor makes it of the original.

    Attributes:
        grid: its uncompressed unit grid.
        n0: its uncompressed tokens.
        items: items that it has become in these inputs.
        size: (height, width) of the original in pixels, where it counts.
        tilings: what the processor can make of it, the uncompressed form first; none where a grid tells all.
    """

    grid: Grid
    n0: int
    items: int = 1
    size: tuple[int, int] = (0, 0)
    tilings: tuple[Tiling, ...] = ()


@dataclass(frozen=True)
class Shrink:
    """An input stage: what it asks for.

    Attributes:
        downsample: its mechanism.
        ratio: its keep ratio.
    """

    downsample: InputMechanism
    ratio: float


@dataclass(frozen=True)
class Prepared:
    """What the processor is to be called with.

    Attributes:
        media: in place of the request's, in their order.
        originals: of each.
        settings: of the processor for this modality.
    """

    media: list[Any]
    originals: list[Medium]
    settings: dict[str, Any] = field(default_factory=dict)


def frames_of(medium: Any) -> Tensor:
    """A picture or video as (T, 3, H, W) uint8.

    Raises:
        InputsError: it is of another shape.
    """
    array = np.asarray(medium.convert("RGB") if hasattr(medium, "convert") else medium)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4:
        raise InputsError(f"media of shape {array.shape}; (H, W, 3) or (T, H, W, 3) is expected")
    tensor = torch.from_numpy(np.array(array))
    return tensor if tensor.shape[1] == 3 and tensor.shape[3] != 3 else tensor.permute(0, 3, 1, 2)


def resized(frames: Tensor, size: Sequence[int]) -> Tensor:
    """Frames (T, 3, H, W) uint8 at another (height, width)."""
    out = torch.nn.functional.interpolate(
        frames.float(), size=(int(size[0]), int(size[1])), mode="bicubic", antialias=True, align_corners=False
    )
    return out.round().clamp(0, 255).to(torch.uint8)


def picture(frames: Tensor) -> Any:
    """One frame (1, 3, H, W) as processors take pictures: (H, W, 3)."""
    return frames[0].permute(1, 2, 0).numpy()


def sampled(frames: Tensor, count: int) -> Tensor:
    """So many of a video's frames, evenly spread, the first and the last among them."""
    take = np.linspace(0, len(frames) - 1, count).round().astype(int)
    return frames[torch.from_numpy(take)]


_MARK = "autotc_originals"
_KEY = "autotc_{modality}_originals"


def mark(tensor: Tensor, originals: Sequence[Medium]) -> None:
    """Note on the model input that tells the shape of media what they were."""
    setattr(tensor, _MARK, tuple(originals))


def marked(tensor: Any) -> tuple[Medium, ...] | None:
    """What `mark` noted; None where it did not."""
    out: tuple[Medium, ...] | None = getattr(tensor, _MARK, None)
    return out


def originals_key(modality: Modality) -> str:
    """Name under which a batch of prepared inputs says what its media were before their input stage."""
    return _KEY.format(modality=modality)


def encode_originals(originals: Sequence[Medium]) -> Tensor:
    """(media, 7) long: grid, uncompressed tokens, items and size of each medium.

    A tensor of the batch goes where the batch goes: to devices, through copies, collators and pinned memory.
    """
    rows = [(*medium.grid, medium.n0, medium.items, *medium.size) for medium in originals]
    return torch.tensor(rows, dtype=torch.long).view(len(rows), 7)


def decode_originals(encoded: Tensor) -> tuple[Medium, ...]:
    """The media of `encode_originals`."""
    rows = encoded.reshape(-1, 7).tolist()
    return tuple(
        Medium(grid=(t, y, x), n0=n0, items=items, size=(height, width)) for t, y, x, n0, items, height, width in rows
    )


def setting(processor: Any, settings: Mapping[str, Any], name: str, part: str = "image") -> Any:
    """A setting of a processor's part: of the call, else of the processor's class, else of the part."""
    own = getattr(processor, f"{part}s_kwargs", None) or {}
    return {**own, **settings}.get(name, getattr(getattr(processor, f"{part}_processor"), name, None))
