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
        recurrent: decoder layers that have a recurrent state in place of attention.
        shared: first decoder layer that no stage can stand in front of, since layers from there on take their keys
            from earlier ones; None where there is no such layer.
        family: short name of the model's family, for methods that are published in another form for some; None where
            it is not known.
    """

    decoder: int
    encoder: dict[str, int]
    unread: dict[str, int] = field(default_factory=dict)
    recurrent: tuple[int, ...] = ()
    shared: int | None = None
    family: str | None = None

    @property
    def standing(self) -> int:
        """Decoder layers that a stage can stand in front of: 0 to this, which is not among them."""
        return self.decoder if self.shared is None else self.shared

    def scored(self, offset: int) -> list[int]:
        """Decoder layers in front of which a stage may read attention.

        Args:
            offset: from a stage's layer to the one whose attention it reads: -1 the layer before, 0 its own.
        """
        return [layer for layer in range(-offset, self.standing) if layer + offset not in self.recurrent]

    def nearest_scored(self, layer: int, offset: int | None) -> int:
        """The decoder layer nearest to ``layer`` in front of which a stage may read attention; the later of two.

        Args:
            layer: where the stage is meant to stand.
            offset: as of `scored`; None for a stage that reads none, which may stand anywhere.
        """
        if offset is None or not self.recurrent:
            return min(layer, self.standing - 1)
        return min(self.scored(offset), key=lambda legal: (abs(legal - layer), -legal), default=layer)
