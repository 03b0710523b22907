"""Where the files that ship beside the code are, in a checkout and in an installed wheel."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autotc.errors import DataError, missing_dependency, quote
from autotc.names import NAME_LENGTH, nearest
from autotc.schemas import copy_name, name_schema, schema_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PACKAGE = Path(__file__).parent
_EXAMPLES = 10
"""Samples of each modality that an example holds."""
_SPACE, _DATA, _MEDIA = "space.yaml", "data.jsonl", "media"
_KINDS = {"images": "png", "video": "npy", "audio": "wav"}
"""Key of a line of the data file -> ending of its media files."""
_NUMBERS = ("none", "one", "two", "three", "four", "five")


def search_spaces() -> Path:
    """Folder of the shipped search spaces.

    A wheel carries it as ``autotc/_search_spaces``; in a checkout it stands at the top of the repository.

    Raises:
        DataError: neither is there.
    """
    for folder in (_PACKAGE / "_search_spaces", _PACKAGE.parent / "search_spaces"):
        if folder.is_dir():
            return folder
    raise DataError(f"{_PACKAGE.parent / 'search_spaces'}: no such folder; reinstall autotc or give --space FILE")


def search_space(name: str = "default") -> Path:
    """File of a shipped search space by name, e.g. ``default``.

    Raises:
        DataError: there is none of that name.
    """
    folder = search_spaces()
    path = folder / f"{name}.yaml"
    if not (name and name == Path(name).name and len(name) <= NAME_LENGTH and path.is_file()):
        known = sorted(p.stem for p in folder.glob("*.yaml"))
        raise DataError(f"search space: {quote(name)} is not shipped and is no file; {nearest(name, known)}")
    return path


@dataclass(frozen=True)
class Example:
    """Files to start from.

    Attributes:
        space: a search space.
        data: a data file.
        media: pictures, clips and sounds that the data file names.
        schema: JSON Schema of the search space, for editors.
    """

    space: Path
    data: Path
    media: tuple[Path, ...]
    schema: Path

    @property
    def files(self) -> list[Path]:
        """All of them."""
        return [self.space, self.data, *self.media, self.schema]

    def to_json(self) -> dict[str, list[str]]:
        """The ``--json`` document."""
        return {"files": [str(file) for file in self.files]}


def write_example(
    folder: str | Path = ".", *, space: str | None = None, modalities: Collection[str] = ("image", "video", "audio")
) -> Example:
    """Write a search space and a small data file with its media into a folder, to start from.

    Args:
        folder: is made where it is missing.
        space: text of the search space; None takes the default one.
        modalities: whose samples are written.

    Raises:
        DataError: the folder holds one of the files already, or cannot be written; nothing is left behind then.
        MissingDependencyError: Pillow or soundfile is not installed.
    """
    folder = Path(folder)
    names = (_SPACE, copy_name("space"), _DATA, _MEDIA)
    missing = not os.path.lexists(folder)
    try:
        for name in names:
            if os.path.lexists(folder / name):
                raise DataError(f"{folder / name}: is there already; move it away or give another folder")
        folder.mkdir(parents=True, exist_ok=True)
        # Made beside and moved: what is there is whole, also where the disk is full.
        with tempfile.TemporaryDirectory(prefix=".autotc-init-", dir=folder) as beside:
            media = _write_example(Path(beside), space, modalities)
            for name in names:
                os.rename(Path(beside) / name, folder / name)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{folder}: cannot be written ({reason}); give another folder") from error
    finally:
        if missing and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return Example(folder / _SPACE, folder / _DATA, tuple(folder / name for name in media), folder / copy_name("space"))


def _write_example(folder: Path, space: str | None, modalities: Collection[str]) -> list[str]:
    """Write the example into a folder; returns its media files, relative to it, in their order."""
    import numpy as np

    from autotc.tiny.scenes import AudioScene, ImageScene, VideoScene
    from autotc.tiny.sources import load_sources

    (folder / _MEDIA).mkdir()
    sources, rng = load_sources("train"), np.random.default_rng(0)
    lines, files = [], []
    for i in range(_EXAMPLES):
        image, video, audio = ImageScene(rng, sources), VideoScene(rng, sources), AudioScene(rng, sources)
        names = {key: f"{_MEDIA}/{key.removesuffix('s')}{i}.{kind}" for key, kind in _KINDS.items()}
        # All are rendered, so that a modality's samples are the same whatever others are written.
        rendered: dict[str, NDArray[np.generic]]
        rendered = {"images": image.render(), "video": video.render(), "audio": audio.render()}
        for key, scene in {"images": image, "video": video, "audio": audio}.items():
            if key.removesuffix("s") not in modalities:
                continue
            _save(folder / names[key], key, rendered[key])
            files.append(names[key])
            # Two questions to each picture, one to each clip, of which those that count have two right answers.
            asked = [_question(question.query, question.answer) for question in scene.questions()[:2]]
            asks = {"questions": asked} if key == "images" else asked[i % 2]
            lines.append(json.dumps({"id": f"{key}-{i}", key: [names[key]], **asks}))
    (folder / _SPACE).write_text(
        name_schema(space or search_space().read_text(encoding="utf-8"), copy_name("space")), encoding="utf-8"
    )
    (folder / copy_name("space")).write_bytes(schema_file("space").read_bytes())
    (folder / _DATA).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files


def _save(path: Path, key: str, medium: NDArray[np.generic]) -> None:
    """Write a picture, a clip's frames or sound."""
    import numpy as np

    from autotc.tiny.config import RATE

    try:
        import soundfile
        from PIL import Image
    except ImportError as error:
        raise missing_dependency(error) from error
    if key == "images":
        Image.fromarray(medium).save(path)
    elif key == "video":
        np.save(path, medium)
    else:
        soundfile.write(path, medium, RATE)


def _question(prompt: str, answer: str) -> dict[str, object]:
    """A question of a data file; a number that is counted is right as a word too."""
    return {"prompt": prompt, "answer": [answer, _NUMBERS[int(answer)]] if prompt == "count words" else answer}
