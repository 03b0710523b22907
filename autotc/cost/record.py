"""What a prefill costs, as records."""

from __future__ import annotations

from dataclasses import dataclass, field

from autotc.policy import Stage


@dataclass(frozen=True)
class Reduced:
    """What a step of a policy removes.

    Attributes:
        stage: the stage.
        items: that it acts on.
        before, after: most tokens that one of them has.
    """

    stage: Stage
    items: int
    before: int
    after: int


@dataclass(frozen=True)
class Cost:
    """Prefill FLOPs by part.

    Attributes:
        encoder: stems and tower blocks.
        projector: mergers and projections; they run on holes too.
        decoder: language-model layers.
        head: LM head over the positions left.
        scoring: scores and mechanisms' own matrix products.
        kv_bytes: keys and values held after prefill.
        tokens: modality -> tokens at the last decoder layer, summed over items.
        lm_tokens: modality -> tokens in the language model, averaged over its layers and summed over items.
        lengths: sequence length at each decoder layer (the longest row's).
        towers: modality -> rows of its tower summed over blocks, and pairs of rows that attend to each other.
        reductions: steps that remove tokens, in order.
    """

    encoder: float
    projector: float
    decoder: float
    head: float
    scoring: float
    kv_bytes: float
    tokens: dict[str, int]
    lm_tokens: dict[str, float]
    lengths: tuple[int, ...]
    towers: dict[str, tuple[float, float]] = field(default_factory=dict)
    reductions: tuple[Reduced, ...] = ()

    @property
    def total(self) -> float:
        """All FLOPs."""
        return self.encoder + self.projector + self.decoder + self.head + self.scoring
