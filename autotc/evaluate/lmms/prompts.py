"""What lmms-eval's tasks ask a model, as conversations whose media stand apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotc.evaluate.media import MODALITIES, Reading, read_medium
from autotc.vocabulary import Group


@dataclass(frozen=True)
class Prompt:
    """A conversation, its media apart.

    Attributes:
        turns: as chat templates take them; media stand as placeholders ``{"type": "image"}``.
        media: ``images``, ``videos``, ``audio`` -> items in order of their placeholders.
    """

    turns: tuple[dict[str, Any], ...]
    media: Mapping[str, list[Any]]

    @property
    def group(self) -> str:
        """Modalities joined by ``+``; ``text`` without media."""
        return Group.of(name for kind, name in MODALITIES.items() if self.media.get(kind)) or "text"

    @property
    def text(self) -> str:
        """All that is written."""
        parts = [part for turn in self.turns for part in turn["content"] if part["type"] == "text"]
        return "\n".join(part["text"] for part in parts)


def simple_prompt(text: str, visuals: Sequence[Any] | None, reading: Reading) -> Prompt:
    """One turn of the user's: the media, then the text.

    Raises:
        DataError: a medium cannot be read.
    """
    content = [{"type": "media", "url": visual} for visual in visuals or ()]
    return chat_prompt([{"role": "user", "content": [*content, {"type": "text", "text": text}]}], reading)


def chat_prompt(messages: Sequence[Mapping[str, Any]], reading: Reading) -> Prompt:
    """A conversation in lmms-eval's form, ``{"type": "image", "url": ...}``.

    Raises:
        DataError: a medium cannot be read.
    """
    media: dict[str, list[Any]] = {}
    turns = []
    for message in messages:
        content = message["content"]
        parts = []
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part["type"] == "text":
                parts.append({"type": "text", "text": part["text"]})
                continue
            # What it is decides, not what it is called: lmms-eval calls every medium without a known ending a video.
            kind, item = read_medium(part.get("url", part.get(part["type"])), reading)
            media.setdefault(kind, []).append(item)
            parts.append({"type": MODALITIES[kind]})
        turns.append({"role": message["role"], "content": parts})
    ordered = {str(kind): media[kind] for kind in MODALITIES if kind in media}
    return Prompt(tuple(turns), ordered)
