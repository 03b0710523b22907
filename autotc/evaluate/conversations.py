"""Conversations of data files, in the forms that people have them, as chat templates take them.

- ``system`` and ``turns: [{"user": ..., "assistant": ...}]`` before the question;
- ``messages: [{"role": ..., "content": ...}]``, as OpenAI's API and TRL write them;
- ``conversations: [{"from": "human" | "gpt", "value": ...}]``, as LLaVA writes them.

The question is the last of the user; an answer of the assistant after it is the right one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotc.errors import quote
from autotc.evaluate.fields import KINDS, Kind, Row

Turn = Mapping[str, object]
"""``role``, and ``content``: a list of parts ``{"type": "text", "text": ...}`` or ``{"type": "image"}``."""
Media = Mapping[Kind, Sequence[Path]]

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
SPEAKERS = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
_MARK = re.compile(r"\s*<(image|video|audio)>\s*")
"""Where a medium stands in a text of LLaVA's form."""
_PARTS: dict[str, Kind] = {
    "image": "images",
    "image_url": "images",
    "video": "video",
    "video_url": "video",
    "audio": "audio",
    "audio_url": "audio",
}
"""Type of a part -> what it shows."""


@dataclass(frozen=True)
class Conversation:
    """What is said before an answer.

    Attributes:
        turns: the last of them the user's.
        question: text of the last.
        answer: what the assistant says to it; None where the conversation ends before.
        named: media that its parts name by themselves, in order.
    """

    turns: tuple[Turn, ...]
    question: str
    answer: str | None
    named: Media


def before_question(row: Row) -> list[Turn]:
    """What ``system`` and ``turns`` say, without media; empty where neither is given.

    Raises:
        DataError: a turn is not one of the user's with its answer.
    """
    out = [_said("system", row.text("system", number=False))] if row.has("system") else []
    for turn in row.rows("turns", "turn") if row.has("turns") else ():
        turn.only(("user", "assistant"))
        out += [_said("user", turn.text("user", number=False)), _said("assistant", turn.text("assistant"))]
    return out


def asked(before: Sequence[Turn], question: str, media: Media) -> tuple[Turn, ...]:
    """A conversation that goes on with a question; its media stand at the beginning of the first turn of the user."""
    return _with_media([*before, _said("user", question)], media)


def from_messages(row: Row) -> Conversation:
    """The conversation in ``messages``.

    Raises:
        DataError: a message is none, or they do not take turns.
    """
    turns: list[Turn] = []
    named: dict[Kind, list[Path]] = {}
    for message in row.rows("messages", "message"):
        message.only(("role", "content", "name"))
        role = _role(message, "role", ROLES)
        turns.append({"role": role, "content": _content(message, role, named)})
        _check_turn(message, turns)
    return _conversation(row, "messages", turns, named)


def from_conversations(row: Row) -> Conversation:
    """The conversation in ``conversations``.

    Raises:
        DataError: an entry is none, or they do not take turns.
    """
    turns: list[Turn] = []
    for entry in row.rows("conversations", "conversation"):
        entry.only(("from", "value"))
        role = _role(entry, "from", SPEAKERS)
        turns.append({"role": role, "content": _marked(entry.text("value"), role)})
        _check_turn(entry, turns)
    return _conversation(row, "conversations", turns, {})


def placed(row: Row, turns: Sequence[Turn], media: Media) -> tuple[Turn, ...]:
    """A conversation with all its media: where their placeholders stand, else before the first text of the user.

    Raises:
        DataError: it has placeholders, and not as many as there are media.
    """
    missing: dict[Kind, Sequence[Path]] = {}
    for kind, name in KINDS.items():
        marks = sum(part["type"] == name for turn in turns for part in parts_of(turn))
        if marks and marks != len(media[kind]):
            raise row.error(f"{kind}: {len(media[kind])} given; the conversation has {marks} places for them")
        missing[kind] = () if marks else media[kind]
    return _with_media(turns, missing)


def parts_of(turn: Turn) -> list[dict[str, str]]:
    """The parts of a turn."""
    content = turn["content"]
    return list(content) if isinstance(content, list) else []


def texts_of(turns: Sequence[Turn]) -> list[tuple[str, str]]:
    """Role and text of each part that is written."""
    return [(str(turn["role"]), part["text"]) for turn in turns for part in parts_of(turn) if part["type"] == "text"]


def _said(role: str, text: str) -> Turn:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _with_media(turns: Sequence[Turn], media: Media) -> tuple[Turn, ...]:
    shown: list[dict[str, str]] = [{"type": name} for kind, name in KINDS.items() for _ in media[kind]]
    first = next(i for i, turn in enumerate(turns) if turn["role"] == "user")
    opened = {**turns[first], "content": [*shown, *parts_of(turns[first])]}
    return (*turns[:first], opened, *turns[first + 1 :])


def _role(row: Row, key: str, known: Mapping[str, str]) -> str:
    said = row.text(key, number=False)
    if said not in known:
        raise row.error(f"{key}: {quote(said)} given; one of {', '.join(known)} is expected")
    return known[said]


def _check_turn(row: Row, turns: Sequence[Turn]) -> None:
    """Refuse a turn that cannot follow those before it: one system, then the user and the assistant in turn."""
    role = turns[-1]["role"]
    before = turns[-2]["role"] if len(turns) > 1 else None
    follows = {None: ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user",)}
    wanted = follows[None if before is None else str(before)]
    if role not in wanted:
        after = "first" if before is None else f"after one of the {before}"
        raise row.error(f"a turn of the {role} stands {after}; one of the {' or '.join(wanted)} is expected there")


def _content(message: Row, role: str, named: dict[Kind, list[Path]]) -> list[dict[str, str]]:
    """Parts of a message; the files that they name are added to ``named``."""
    value = message.data.get("content")
    if not isinstance(value, list):
        return _marked(message.text("content"), role)
    out: list[dict[str, str]] = []
    for part in message.rows("content", "part"):
        kind = part.text("type", number=False)
        if kind == "text":
            out.append({"type": "text", "text": part.text("text")})
            continue
        if kind not in _PARTS:
            raise part.error(f"type: {quote(kind)} given; one of text, {', '.join(_PARTS)} is expected")
        if role != "user":
            raise part.error(f"{kind}: shown by the {role}; media stand in the messages of the user")
        out.append({"type": KINDS[_PARTS[kind]]})
        if (path := _named_file(part, kind)) is not None:
            named.setdefault(_PARTS[kind], []).append(path)
    return out


def _named_file(part: Row, kind: str) -> Path | None:
    """The file that a part names, as ``{"type": "image", "image": PATH}`` or in one of the other ways; None without."""
    for key in (kind, "path", "url"):
        value = part.data.get(key)
        if isinstance(value, dict):  # {"type": "image_url", "image_url": {"url": PATH}}
            value = value.get("url")
        if value is not None:
            return part.path(part.as_text(key, value, number=False), _PARTS[kind], key)
    return None


def _marked(text: str, role: str) -> list[dict[str, str]]:
    """A text as parts, the user's with media where ``<image>``, ``<video>`` or ``<audio>`` stands."""
    if role != "user":
        return [{"type": "text", "text": text}]
    pieces = _MARK.split(text)
    out: list[dict[str, str]] = []
    for i, piece in enumerate(pieces):
        if i % 2:
            out.append({"type": piece})
        elif piece:
            out.append({"type": "text", "text": piece})
    return out


def _conversation(row: Row, key: str, turns: list[Turn], named: Media) -> Conversation:
    answer = None
    if turns[-1]["role"] == "assistant":
        answer = "\n".join(text for _, text in texts_of(turns[-1:]))
        turns = turns[:-1]
    asks = bool(turns) and turns[-1]["role"] == "user"
    question = "\n".join(text for _, text in texts_of(turns[-1:])) if asks else ""
    if not question.strip():
        raise row.error(f"{key}: ends without a question; a last turn of the user with a text is expected")
    if row.has("system"):
        if turns[0]["role"] == "system":
            raise row.error(f"system: given beside {key}, which begin with one; one of the two is right")
        turns = [*before_question(row), *turns]
    return Conversation(tuple(turns), question, answer, named)
