"""The user's own data file: JSON lines of media, prompt and answer.

    {"id": "a1", "images": ["a.png"], "prompt": "Which digit is red?", "answer": "7"}

Paths are relative to the file's folder. Media stand before the prompt, in the order images, video, audio.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autotc.errors import DataError
from autotc.evaluate.media import FILE_SUFFIXES, VIDEO_FORMS
from autotc.evaluate.splits import SHARES, Member, divide
from autotc.vocabulary import Group, Split

Kind = Literal["images", "video", "audio"]

KEYS: tuple[str, ...] = ("id", "images", "video", "audio", "prompt", "answer")
KINDS: dict[Kind, str] = {"images": "image", "video": "video", "audio": "audio"}
"""Key of a line -> modality of its items."""
PROCESSOR_KEYS: dict[Kind, str] = {"images": "images", "video": "videos", "audio": "audio"}
"""Key of a line -> what processors call its items."""


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
            if not path.is_dir() and path.suffix.lower() not in (".npy", ".gif", *FILE_SUFFIXES):
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
