"""Rows of a data file, and the values that their fields may hold."""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autotc.errors import DataError, quote
from autotc.evaluate.media import FILE_SUFFIXES, VIDEO_FORMS, shown_name
from autotc.names import nearest

Kind = Literal["images", "video", "audio"]

KINDS: dict[Kind, str] = {"images": "image", "video": "video", "audio": "audio"}
"""Field of a row -> modality of its items."""
ALIASES: dict[str, Kind] = {"image": "images", "videos": "video", "audios": "audio"}
"""What other formats call the fields of media."""
MOST_ANSWERS = 100
"""Right answers of one question."""
_QUOTES = "'\""


@dataclass(frozen=True)
class Row:
    """One object of a data file, or of a list in one.

    Attributes:
        data: field -> value.
        file: the data file.
        place: of the row in the file: ``line 3``, ``row 3``, ``line 3: question 2``.
        number: of the line or row, from 1.
    """

    data: Mapping[str, object]
    file: Path
    place: str
    number: int

    def error(self, message: str) -> DataError:
        """What is wrong, with file and line before it."""
        return DataError(f"{shown_name(self.file)}: {self.place}: {message}")

    def has(self, key: str) -> bool:
        """Whether a field is given; null says nothing."""
        return self.data.get(key) is not None

    def only(self, known: Collection[str]) -> None:
        """Refuse fields of other names."""
        for key in self.data:
            if key not in known:
                raise self.error(f"{quote(key).strip(_QUOTES)}: unknown key; {nearest(key, known, len(known))}")

    def text(self, key: str, *, number: bool = True) -> str:
        """A field that is a text.

        Args:
            key: of the field.
            number: whether a number is as good, which people write for ids and answers.
        """
        if key not in self.data:
            raise self.error(f"{key}: missing; a text is expected")
        return self.as_text(key, self.data[key], number=number)

    def as_text(self, key: str, value: object, *, number: bool = True) -> str:
        """The same of a value that stands in a field."""
        if number and isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"{key}: {quote(value)} given; a text that is not empty is expected")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise self.error(f"{key}: {quote(value)} holds half of a character; whole ones are expected") from error
        return value

    def rows(self, key: str, called: str) -> list[Row]:
        """A field that is a list of objects, each as a row of its own.

        Args:
            key: of the field.
            called: one of them, for errors, e.g. ``question``.
        """
        value = self.data[key]
        if not isinstance(value, list) or not value:
            raise self.error(f"{key}: {quote(value)} given; a list of objects is expected")
        out = []
        for number, item in enumerate(value, start=1):
            place = f"{self.place}: {called} {number}"
            if not isinstance(item, dict):
                raise DataError(f"{shown_name(self.file)}: {place}: {quote(item)} given; an object is expected")
            out.append(Row(item, self.file, place, self.number))
        return out

    def answers(self) -> tuple[str, ...]:
        """The right answers, in ``answer`` or ``answers``: one text, or a list of them; four numbers are a box."""
        given = [key for key in ("answer", "answers") if self.has(key)]
        if len(given) > 1:
            raise self.error("answers: given beside answer; one of the two is right")
        if not given:
            return (self.text("answer"),)
        value = self.data[given[0]]
        if not isinstance(value, list):
            return (self.as_text(given[0], value),)
        if is_box(value):
            return (str(value),)
        if not 1 <= len(value) <= MOST_ANSWERS:
            raise self.error(f"{given[0]}: {quote(value)} given; a text or a list of 1 to {MOST_ANSWERS} is expected")
        return tuple(str(item) if is_box(item) else self.as_text(given[0], item) for item in value)

    def paths(self) -> dict[Kind, tuple[Path, ...]]:
        """Its media's files, seen to exist."""
        found: dict[Kind, tuple[Path, ...]] = {}
        for kind in KINDS:
            names = [kind, *(name for name, meant in ALIASES.items() if meant == kind)]
            given = [name for name in names if self.has(name)]
            if len(given) > 1:
                raise self.error(f"{given[1]}: given beside {given[0]}, which says the same; one of the two is right")
            found[kind] = self._listed(given[0], kind) if given else ()
        return found

    def _listed(self, key: str, kind: Kind) -> tuple[Path, ...]:
        value = self.data[key]
        names = value if isinstance(value, list) else [value]
        if any(isinstance(name, dict) and "bytes" in name for name in names):
            raise self.error(f"{key}: holds the media themselves; save them as files, and give their paths")
        if not all(isinstance(name, str) and name for name in names):
            raise self.error(f"{key}: {quote(value)} given; a path or a list of paths is expected")
        return tuple(self.path(str(name), kind, key) for name in names)

    def path(self, name: str, kind: Kind, key: str) -> Path:
        """A medium's path, seen to exist and to be of the right kind.

        Args:
            name: as it is given, relative to the data file.
            kind: of medium.
            key: of the field that names it, for errors.
        """
        told = f"{key}: {quote(name)}"
        if address := re.match(r"(data|https?|file|s3|gs):", name, re.IGNORECASE):
            raise self.error(f"{told} is an address ({address[1]}:); save it, and give the path of the file")
        folder = self.file.parent
        path = folder / name
        try:
            mode = path.stat().st_mode
        except FileNotFoundError as error:
            raise self.error(f"{told} does not exist in {shown_name(folder)}; a readable file is expected") from error
        except (OSError, ValueError) as error:  # a name too long, half of a character, a NUL
            reason = getattr(error, "strerror", None) or error
            raise self.error(f"{told} cannot be read ({reason}); a readable file is expected") from error
        if stat.S_ISDIR(mode):
            if kind == "video":
                return path
            raise self.error(f"{told} is a directory; a file is expected")
        if not stat.S_ISREG(mode):
            raise self.error(f"{told} is no regular file; a file is expected")
        if kind == "video" and path.suffix.lower() not in (".npy", ".gif", *FILE_SUFFIXES):
            raise self.error(f"{told} cannot be decoded; supported are {VIDEO_FORMS}")
        return path


def is_box(value: object) -> bool:
    """Whether a value is a box: a list of four numbers."""
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(item, int | float) and not isinstance(item, bool) for item in value)
    )
