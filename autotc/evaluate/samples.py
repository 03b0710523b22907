"""One question about some media, as every evaluator that runs a model asks it."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotc.errors import quote
from autotc.vocabulary import Group, Modality

PLACEHOLDERS = {"images": "image", "videos": "video", "audio": "audio"}
"""Key of a sample's media -> what a chat template calls one of its items."""
MEDIA_KEYS: dict[Modality, str] = {"image": "images", "video": "videos", "audio": "audio"}
"""Modality -> key of its items."""
Media = Mapping[str, list[Any]]
"""``images``, ``videos``, ``audio`` -> items, in the form that processors take."""


@dataclass(frozen=True)
class Sample:
    """One question about some media.

    Attributes:
        id: unique within the data set.
        task: name of its task.
        group: modalities it needs, joined by ``+``.
        prompt, answer: text.
        media: loads its media.
        where: it was read from, for errors: a file and a line; without, its id.
        turns: its conversation as chat templates take it, media as placeholders; empty where it is all media, then the
            prompt.
        others: answers that are as right as ``answer``, whose log-probability is the one that counts.
        metric: of its own, by name; empty where the evaluator's holds.
        cluster: samples of one cluster share a picture, a clip or a document; empty for a sample of its own.
    """

    id: str
    task: str
    group: str
    prompt: str
    answer: str
    media: Callable[[], Media] = field(compare=False)
    where: str = field(default="", compare=False, kw_only=True)
    turns: tuple[Mapping[str, object], ...] = field(default=(), compare=False, kw_only=True)
    others: tuple[str, ...] = field(default=(), kw_only=True)
    metric: str = field(default="", kw_only=True)
    cluster: str = field(default="", kw_only=True)

    @property
    def named(self) -> str:
        """What it is called in errors."""
        return self.where or quote(self.id).strip("'")

    @property
    def batch_key(self) -> Hashable:
        """Only samples with equal keys may run in one batch."""
        return None

    @property
    def answers(self) -> tuple[str, ...]:
        """All right answers."""
        return (self.answer, *self.others)

    def further(self) -> str:
        """What it asks and takes for right beyond prompt and answer, as one text; empty where that is all."""
        more = [list(self.turns), list(self.others), self.metric]
        return json.dumps(more, sort_keys=True) if any(more) else ""

    def chat(self, media: Media) -> list[Mapping[str, object]]:
        """Its conversation as chat templates take it: its own turns, or the media's placeholders and the prompt.

        Args:
            media: what `media` loaded.
        """
        if self.turns:
            return list(self.turns)
        content = [{"type": PLACEHOLDERS[key]} for key, items in media.items() for _ in items]
        return [{"role": "user", "content": [*content, {"type": "text", "text": self.prompt}]}]


def grouped(samples: Sequence[Sample]) -> dict[Group, list[Sample]]:
    """Samples by modality group, both in order of first appearance."""
    out: dict[Group, list[Sample]] = {}
    for sample in samples:
        out.setdefault(Group(sample.group), []).append(sample)
    return out


def named(samples: Sequence[Sample]) -> str:
    """Ids of the first of some samples."""
    more = f" and {len(samples) - 3} more" if len(samples) > 3 else ""
    return ", ".join(quote(sample.id, 40).strip("'") for sample in samples[:3]) + more
