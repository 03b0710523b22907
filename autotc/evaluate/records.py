"""The user's own data file: JSON lines of media, prompt and answer.

    {"id": "a1", "images": ["a.png"], "prompt": "Which digit is red?", "answer": "7"}

Paths are relative to the file's folder. Media stand before the prompt, in the order images, video, audio.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autotc.errors import DataError, one_line, quote
from autotc.evaluate.media import FILE_SUFFIXES, VIDEO_FORMS, shown_name
from autotc.evaluate.media.headers import check_audio, check_picture, check_video
from autotc.evaluate.splits import SHARES, Member, divide
from autotc.files import read_text
from autotc.names import nearest
from autotc.vocabulary import Group, Split

Kind = Literal["images", "video", "audio"]

DATA_BYTES = 2**30
"""Of the largest data file."""
QUOTES = "'\""
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
    lines = read_text(path, "a file of JSON lines (.jsonl)", limit=DATA_BYTES).split("\n")
    records: list[Record] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{shown_name(path)}: line {number}"
        record = _record(line, where, path.parent, number)
        if record.id in seen:
            raise DataError(f"{where}: id: {quote(record.id)} is on line {seen[record.id]} too; ids are unique")
        seen[record.id] = number
        records.append(record)
    if not records:
        raise DataError(
            f"{shown_name(path)}: is empty; at least one JSON line with media, prompt, answer and id is expected"
        )
    return records


def _record(line: str, where: str, folder: Path, number: int) -> Record:
    data = _object(line, where)
    for key in data:
        if key not in KEYS:
            raise DataError(f"{where}: {quote(key).strip(QUOTES)}: unknown key; {nearest(key, KEYS)}")
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


def _object(line: str, where: str) -> dict[str, Any]:
    """A line's JSON object.

    Raises:
        DataError: it is none, names a key twice, or holds a number or a nesting that is beyond reading.
    """
    try:
        data = json.loads(line, object_pairs_hook=_once, parse_constant=_not_a_number)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: is not JSON ({error.msg}, column {error.colno}); an object is expected") from error
    except RecursionError as error:
        raise DataError(f"{where}: is nested too deep; an object of texts and lists of paths is expected") from error
    except ValueError as error:  # a key twice, NaN, or more digits than Python reads
        raise DataError(f"{where}: cannot be read ({one_line(error, 120)}); an object is expected") from error
    if not isinstance(data, dict):
        raise DataError(f"{where}: holds {type(data).__name__}; an object with media, prompt, answer, id is expected")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {quote(next(n for n in names if names.count(n) > 1))} stands twice")
    return out


def _not_a_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _text(data: dict[str, Any], key: str, where: str) -> str:
    if key not in data:
        raise DataError(f"{where}: {key}: missing; a text is expected")
    value = data[key]
    # Numbers are what people write for ids and answers; a prompt is a text.
    if isinstance(value, int | float) and not isinstance(value, bool) and key != "prompt":
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {key}: {quote(value)} given; a text that is not empty is expected")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: {key}: {quote(value)} holds half of a character; whole ones are expected") from error
    return value


def _paths(data: dict[str, Any], kind: Kind, where: str, folder: Path) -> tuple[Path, ...]:
    value = data.get(kind)
    if value is None:
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{where}: {kind}: {quote(value)} given; a path or a list of paths is expected")
    return tuple(_path(name, kind, where, folder) for name in names)


def _path(name: str, kind: Kind, where: str, folder: Path) -> Path:
    """A medium's path, seen to exist and to be of the right kind.

    Raises:
        DataError: it does not exist, is no path at all, or is something else than a file, or for video a folder.
    """
    told = f"{where}: {kind}: {quote(name)}"
    if address := re.match(r"(data|https?|file|s3|gs):", name, re.IGNORECASE):
        raise DataError(f"{told} is an address ({address[1]}:); save it, and give the path of the file")
    path = folder / name
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise DataError(f"{told} does not exist in {shown_name(folder)}; a readable file is expected") from error
    except (OSError, ValueError) as error:  # too long, a NUL or half a character in it, no permission
        reason = getattr(error, "strerror", None) or one_line(error, 80)
        raise DataError(f"{told} cannot be read ({reason}); a readable file is expected") from error
    if kind == "video" and stat.S_ISDIR(mode):
        return path
    if stat.S_ISDIR(mode):
        raise DataError(f"{told} is a directory; a file is expected")
    if not stat.S_ISREG(mode):
        raise DataError(f"{told} is no regular file; a file is expected")
    if kind == "video" and path.suffix.lower() not in (".npy", ".gif", *FILE_SUFFIXES):
        raise DataError(f"{told} cannot be decoded; supported are {VIDEO_FORMS}")
    return path


def check_headers(path: str | Path, records: Sequence[Record]) -> None:
    """See that the media of a data file are media, from the beginnings of their files; each file is looked at once.

    Args:
        path: of the data file.
        records: its lines.

    Raises:
        DataError: naming the data file, the line and the medium.
    """
    checks: dict[Kind, Callable[[Path], None]] = {
        "images": check_picture,
        "video": check_video,
        "audio": check_audio,
    }
    seen: set[Path] = set()
    for record in records:
        for kind, check in checks.items():
            for file in getattr(record, kind):
                if file in seen:
                    continue
                seen.add(file)
                try:
                    check(file)
                except DataError as error:
                    raise DataError(f"{shown_name(path)}: line {record.line}: {kind}: {error}") from error


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
