"""Pictures as RGB: what a checkpoint's own processor would see of a file.

As `transformers.image_utils.load_image`, the orientation that a camera noted is applied; as
`transformers.image_transforms.convert_to_rgb`, transparency is put on white. Pictures of more than 8 bits are scaled,
where Pillow would clip them.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autotc.errors import DataError, missing_dependency, quote
from autotc.evaluate.media.decoding import decoded
from autotc.files import read_bytes

if TYPE_CHECKING:
    from PIL import Image

PICTURE_BYTES = 2**29
"""Of the largest file of a picture."""
MAX_PIXELS = 89_478_485
"""Of the largest picture: where Pillow begins to suspect that a small file was made to fill the memory."""
WANTED = "a whole PNG, JPEG, GIF, BMP, TIFF or WebP picture"
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
"""Pillow's modes of more than 8 bits; all have one channel."""


def load_image(path: str | Path) -> Image.Image:
    """A picture as RGB.

    Raises:
        DataError: it cannot be read.
    """
    return decode_image(read_bytes(path, WANTED, limit=PICTURE_BYTES), shown_name(path))


def shown_name(path: str | Path) -> str:
    """A path as errors show it."""
    return quote(str(path), 120).strip("'\"")


def decode_image(data: bytes, name: str) -> Image.Image:
    """A picture as RGB from the bytes of its file.

    Args:
        data: of the file.
        name: of the picture, for errors.

    Raises:
        DataError: they cannot be read.
    """

    def decode() -> Image.Image:
        with open_picture(io.BytesIO(data), name) as image:
            return as_rgb(image, name)

    return decoded(name, WANTED, decode)


def open_picture(file: IO[bytes], name: str) -> Image.Image:
    """A picture or an animation, its header read.

    Raises:
        DataError: it is larger than `MAX_PIXELS`.
    """
    try:
        from PIL import Image, ImageFile
    except ImportError as error:
        raise missing_dependency(error) from error
    # lmms-eval lets damaged pictures pass everywhere once it is imported.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # told below
        image = Image.open(file)
    check_pixels(image.width, image.height, name)
    return image


def check_pixels(width: int, height: int, name: str) -> None:
    """Refuse a picture that is too large to be read."""
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{name}: is {width} x {height} pixels; at most {MAX_PIXELS:,} in all are read, make it smaller"
        )


def as_rgb(image: Image.Image, name: str = "a picture") -> Image.Image:
    """A picture of any mode as RGB, upright, transparency on white, more than 8 bits scaled to 8.

    Args:
        image: of any mode.
        name: for errors.

    Raises:
        DataError: its values cannot be told apart as 8 bits, 16 bits or shares of 1.
    """
    from PIL import Image, ImageOps

    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _DEEP_MODES:
        return Image.fromarray(as_bytes(np.asarray(upright), name)).convert("RGB")
    if {"A", "a"} & set(upright.getbands()) or upright.info.get("transparency") is not None:
        layer = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer).convert("RGB")
    return upright.convert("RGB")


def as_bytes(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Values of pixels as 8 bits.

    Args:
        values: 8 bits, 16 bits, or floats as shares of 1 or on the scale of either.
        name: for errors.

    Raises:
        DataError: they are none of these.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    is_float = np.issubdtype(values.dtype, np.floating)
    if not (is_float or np.issubdtype(values.dtype, np.integer)) or not (low >= 0 and high <= 65535):
        raise DataError(
            f"{name}: holds {values.dtype} from {low:g} to {high:g}; 8 bits, 16 bits or floats in [0, 1] are expected"
        )
    if is_float:
        scale = 255.0 if high <= 1 else 1.0 if high <= 255 else 255 / 65535
    else:
        scale = 255 / 65535
    return np.rint(values * scale).astype(np.uint8)
