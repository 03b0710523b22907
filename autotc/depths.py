"""How deep a model is: a record that nothing heavy is imported for."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Depths:
    """How deep a model is.

    Attributes:
        decoder: layers of the language model.
        encoder: modality -> blocks of its tower, up to the one whose output is read.
        unread: modality -> blocks behind that one.
    """

    decoder: int
    encoder: dict[str, int]
    unread: dict[str, int] = field(default_factory=dict)
