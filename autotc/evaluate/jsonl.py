"""The user's own data: JSON lines of media, prompt and answer; seeded splits, metrics, and reading the media.

    {"id": "a1", "images": ["a.png"], "prompt": "Which digit is red?", "answer": "7"}

Paths are relative to the file's folder. Media stand before the prompt, in the order images, video, audio.
"""

from __future__ import annotations

import functools
import importlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from autotc.errors import DataError, MissingDependencyError
from autotc.evaluate.model import Metric, ModelEvaluator, Sample
from autotc.evaluate.splits import SHARES, Member, divide
from autotc.vocabulary import Group, Split

if TYPE_CHECKING:
    from PIL import Image

Kind = Literal["images", "video", "audio"]

KEYS: tuple[str, ...] = ("id", "images", "video", "audio", "prompt", "answer")
KINDS: dict[Kind, str] = {"images": "image", "video": "video", "audio": "audio"}
"""Key of a line -> modality of its items."""
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
VIDEO_FORMS = "a folder of frames, a .npy array (T, H, W, 3) of uint8 or an animated .gif"


@dataclass(frozen=True)
class Record:
    """One line of a data file.

    Attributes:
        id: unique in the file; pairs the results of two policies.
        prompt: the question, without template tokens.
        answer: the right answer.
        images, video, audio: paths of its media, in order.
        line: where it stands in the file, from 1.
    """

    id: str
    prompt: str
    answer: str
    images: tuple[Path, ...] = ()
    video: tuple[Path, ...] = ()
    audio: tuple[Path, ...] = ()
    line: int = 0

    @property
    def modality(self) -> str:
        """Group it is reported in: its modalities joined by ``+``, e.g. ``image+audio``."""
        return Group.of(name for kind, name in KINDS.items() if getattr(self, kind))

    @property
    def media(self) -> tuple[Path, ...]:
        """All its media files."""
        return self.images + self.video + self.audio


@dataclass(frozen=True)
class Clip:
    """A decoded video.

    Attributes:
        frames: (T, H, W, 3) uint8.
        fps: frames a second; None where the form does not say (a folder, an array).
    """

    frames: NDArray[np.uint8]
    fps: float | None = None


def load_jsonl(path: str | Path) -> list[Record]:
    """Read a data file and check every line of it, media files included (that they exist, not what they hold).

    Raises:
        DataError: the first thing that is wrong: file, line, key, value and what would be right.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path}: is a directory; a file of JSON lines (.jsonl) is expected")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; a file of JSON lines (.jsonl) is expected") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error}); JSON lines are expected") from error
    records: list[Record] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        record = _record(line, f"{path}: line {number}", path.parent, number)
        if record.id in seen:
            raise DataError(
                f"{path}: line {number}: id: {record.id!r} is on line {seen[record.id]} too; ids are unique"
            )
        seen[record.id] = number
        records.append(record)
    if not records:
        raise DataError(f"{path}: is empty; at least one JSON line with media, prompt, answer and id is expected")
    return records


def _record(line: str, where: str, folder: Path, number: int) -> Record:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: is not JSON ({error.msg}, column {error.colno}); an object is expected") from error
    if not isinstance(data, dict):
        raise DataError(f"{where}: holds {type(data).__name__}; an object with media, prompt, answer, id is expected")
    for key in data:
        if key not in KEYS:
            raise DataError(f"{where}: {key}: unknown key; known: {', '.join(KEYS)}")
    media = {kind: _paths(data, kind, where, folder) for kind in KINDS}
    if not any(media.values()):
        raise DataError(f"{where}: no media; give images, video or audio")
    return Record(
        id=_text(data, "id", where),
        prompt=_text(data, "prompt", where),
        answer=_text(data, "answer", where),
        images=media["images"],
        video=media["video"],
        audio=media["audio"],
        line=number,
    )


def _text(data: dict[str, Any], key: str, where: str) -> str:
    if key not in data:
        raise DataError(f"{where}: {key}: missing; a text is expected")
    value = data[key]
    # Numbers are what people write for ids and answers; a prompt is a text.
    if isinstance(value, int | float) and not isinstance(value, bool) and key != "prompt":
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {key}: {value!r} given; a text that is not empty is expected")
    return value


def _paths(data: dict[str, Any], kind: Kind, where: str, folder: Path) -> tuple[Path, ...]:
    value = data.get(kind)
    if value is None:
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{where}: {kind}: {value!r} given; a path or a list of paths is expected")
    out = []
    for name in names:
        path = folder / name
        if not path.exists():
            raise DataError(f"{where}: {kind}: {name!r} does not exist in {folder}; a readable file is expected")
        if kind == "video":
            if not path.is_dir() and path.suffix.lower() not in (".npy", ".gif"):
                raise DataError(f"{where}: {kind}: {name!r} cannot be decoded; supported are {VIDEO_FORMS}")
        elif path.is_dir():
            raise DataError(f"{where}: {kind}: {name!r} is a directory; a file is expected")
        out.append(path)
    return tuple(out)


def split_records(records: Sequence[Record], seed: int) -> dict[Split, list[Record]]:
    """Disjoint splits: 40% search, 20% val, 40% test of every modality group, in the file's order.

    Records that share a media file stay together, so that no picture is searched on and tested on. The assignment
    depends on ids and seed, not on the order of the lines.

    Raises:
        DataError: a group is too small to be in every split.
    """
    where = divide([Member(r.id, r.modality, [path.resolve() for path in r.media]) for r in records], seed)
    out: dict[Split, list[Record]] = {name: [r for r in records if where[r.id] == name] for name in SHARES}
    for group in dict.fromkeys(record.modality for record in records):
        for name, members in out.items():
            if not any(record.modality == group for record in members):
                count = sum(record.modality == group for record in records)
                raise DataError(
                    f"data: {count} {group} samples leave the {name} split without any; "
                    "give at least 3 samples of each modality that share no media (hundreds for narrow intervals)"
                )
    return out


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def exact(said: str, right: str) -> float:
    """1 where both are equal but for case and white space."""
    return float(_plain(said) == _plain(right))


def contains(said: str, right: str) -> float:
    """1 where the right answer stands in what was said as whole words (``1`` is not in ``10``), case ignored."""
    return float(re.search(rf"(?<!\w){re.escape(_plain(right))}(?!\w)", _plain(said)) is not None)


METRICS: dict[str, Metric] = {"exact": exact, "contains": contains}


def metric(name: str) -> Metric:
    """A metric by name: ``exact``, ``contains``, or ``module:function`` of the user's own.

    A function of the user's own takes (said, right) and returns a score in [0, 1]; the module is found as ``python``
    would find it in the current folder.

    Raises:
        DataError: the name is unknown, or the function cannot be imported or returns something else.
    """
    if name in METRICS:
        return METRICS[name]
    known = "exact, contains or module:function"
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise DataError(f"metric: {name!r} is unknown; known: {known}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise DataError(f"metric: {name!r} cannot be imported ({error}); known: {known}") from error
    if not callable(function):
        raise DataError(f"metric: {name!r} is not a function; known: {known}")

    def checked(said: str, right: str) -> float:
        score = function(said, right)
        if isinstance(score, str) or not np.isscalar(score) or not 0 <= float(score) <= 1:  # type: ignore[arg-type]
            raise DataError(f"metric: {name} returned {score!r}; a number in [0, 1] is expected")
        return float(score)  # type: ignore[arg-type]

    return checked


def _pillow(path: Path) -> Image.Image:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingDependencyError("pillow is not installed; pip install 'autotc[search]'") from error
    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path}: is not a readable picture; PNG, JPEG, GIF, BMP or WebP is expected") from error


def load_image(path: str | Path) -> Image.Image:
    """A picture as RGB.

    Raises:
        DataError: it cannot be read.
    """
    with _pillow(Path(path)) as image:
        from PIL import ImageFile

        # lmms-eval lets damaged pictures pass everywhere once it is imported.
        before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        try:
            return image.convert("RGB")
        except OSError as error:
            raise DataError(f"{path}: is a damaged picture ({error}); a whole file is expected") from error
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def load_audio(path: str | Path, rate: int) -> NDArray[np.float32]:
    """A clip as mono (n,) float32, resampled to ``rate`` samples a second.

    Raises:
        DataError: it cannot be read or is empty.
    """
    try:
        import soundfile
    except ImportError as error:
        raise MissingDependencyError("soundfile is not installed; pip install 'autotc[search]'") from error
    try:
        wave, own = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"{path}: is not audio that can be read; WAV, FLAC, OGG or MP3 is expected") from error
    mono: NDArray[np.float32] = wave.mean(axis=1)
    if not len(mono):
        raise DataError(f"{path}: holds no sound; at least one sample is expected")
    if own != rate:
        from scipy.signal import resample_poly

        factor = Fraction(rate, int(own))
        mono = resample_poly(mono, factor.numerator, factor.denominator)
    return mono.astype(np.float32)


def load_video(path: str | Path) -> Clip:
    """A video: a folder of frames (in order of name), a .npy array (T, H, W, 3) of uint8, or an animated GIF.

    Raises:
        DataError: it cannot be read, or its frames differ in size.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted((f for f in path.iterdir() if f.suffix.lower() in FRAME_SUFFIXES), key=_natural)
        if not files:
            raise DataError(f"{path}: holds no frames; pictures ({', '.join(FRAME_SUFFIXES)}) are expected")
        return Clip(_stack([np.asarray(load_image(file)) for file in files], path))
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"{path}: is not an array ({error}); a (T, H, W, 3) array of uint8 is expected") from error
        if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8 or not array.size:
            raise DataError(f"{path}: holds {array.dtype} of shape {array.shape}; (T, H, W, 3) of uint8 is expected")
        return Clip(array)
    if path.suffix.lower() != ".gif":
        raise DataError(f"{path}: cannot be decoded; supported are {VIDEO_FORMS}")
    from PIL import ImageSequence

    frames, milliseconds = [], 0.0
    with _pillow(path) as image:
        for frame in ImageSequence.Iterator(image):
            milliseconds += float(frame.info.get("duration", 0))
            frames.append(np.asarray(frame.convert("RGB")))
    return Clip(_stack(frames, path), 1000 * len(frames) / milliseconds if milliseconds else None)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sorts ``frame2`` before ``frame10``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]


def _stack(frames: list[NDArray[np.uint8]], path: Path) -> NDArray[np.uint8]:
    sizes = {frame.shape for frame in frames}
    if len(sizes) != 1:
        raise DataError(f"{path}: frames differ in size ({sorted(sizes)}); frames of one size are expected")
    return np.stack(frames)


class JsonlEvaluator(ModelEvaluator):
    """Evaluates on the user's own data.

    Args:
        path: file of JSON lines.
        model, processor: as loaded by transformers; None takes the embedded model.
        metric: ``exact``, ``contains``, ``module:function``, or a function (said, right) -> score in [0, 1].
        seed: of the splits.
        batch_size: samples of one forward.
        max_new_tokens: limit of `generate()`.

    Raises:
        DataError: the file, a medium or the metric is wrong.
    """

    name = "jsonl"

    def __init__(
        self,
        path: str | Path,
        model: Any = None,
        processor: Any = None,
        *,
        metric: str | Metric = "exact",
        seed: int = 0,
        batch_size: int = 8,
        max_new_tokens: int = 64,
    ) -> None:
        records = load_jsonl(path)
        score = _metric(metric) if isinstance(metric, str) else metric
        if model is None:
            from autotc.tiny import load

            model, processor = load()
        super().__init__(
            model, processor, metric=score, seed=seed, batch_size=batch_size, max_new_tokens=max_new_tokens
        )
        for record in records:
            lacking = [part for part in Group(record.modality).modalities if part not in self.locations]
            if lacking:
                raise DataError(
                    f"{path}: line {record.line}: {lacking[0]}: given; {type(model).__name__} takes"
                    f" {', '.join(self.locations)}"
                )
        rate = int(processor.feature_extractor.sampling_rate) if any(r.audio for r in records) else 0
        task = Path(path).stem
        self._splits: dict[Split, list[Sample]] = {
            split: [
                Sample(r.id, task, r.modality, r.prompt, r.answer, functools.partial(_load, r, rate)) for r in members
            ]
            for split, members in split_records(records, seed).items()
        }
        held = [part for record in records for part in Group(record.modality).modalities]
        self.modalities = tuple(name for name in KINDS.values() if name in held)

    def samples(self, split: Split) -> Sequence[Sample]:
        return self._splits[split]


_metric = metric


def _load(record: Record, rate: int) -> Mapping[str, list[Any]]:
    """Media of a record, in the form that processors take."""
    out = {
        "images": [np.asarray(load_image(path)) for path in record.images],
        "videos": [load_video(path).frames for path in record.video],
        "audio": [load_audio(path, rate) for path in record.audio],
    }
    return {key: items for key, items in out.items() if items}
