"""Pictures: from files, as RGB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autotc.errors import DataError, missing_dependency

if TYPE_CHECKING:
    from PIL import Image


def open_picture(path: Path) -> Image.Image:
    """A picture or an animation, its header read."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise missing_dependency(error) from error
    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path}: is not a readable picture; PNG, JPEG, GIF, BMP or WebP is expected") from error


def load_image(path: str | Path) -> Image.Image:
    """A picture as RGB.

    Raises:
        DataError: it cannot be read.
    """
    with open_picture(Path(path)) as image:
        from PIL import ImageFile

        # lmms-eval lets damaged pictures pass everywhere once it is imported.
        before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        try:
            return image.convert("RGB")
        except OSError as error:
            raise DataError(f"{path}: is a damaged picture ({error}); a whole file is expected") from error
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
