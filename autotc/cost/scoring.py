"""FLOPs of scores and of mechanisms' own matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotc.cost.record import Reduced
from autotc.mechanisms import LAYER_SCORES, RANK_ROUNDS, TOWER_SCORES, Score, Work
from autotc.models import BoundAdapter, Item, LayerShape, spread
from autotc.policy import Stage


@dataclass(frozen=True)
class Batch:
    """The batch that a layer of the language model sees.

    Attributes:
        rows: prompts.
        length: tokens of the longest.
        query: tokens of the longest query span, at least 1.
        scored: the layer that scores of attention come from.
    """

    rows: int
    length: int
    query: int
    scored: LayerShape


def _work(bound: BoundAdapter, step: Reduced, frames: int, batch: Batch | None) -> Work:
    """Shape of one reduction, as `Mechanism.flops` takes it; ``batch``: that the language model sees."""
    stage, tower, query = step.stage, bound.tower(step.stage.modality), 0 if batch is None else batch.query
    width = tower.width if stage.location == "encoder" else bound.decoder.width
    needs, keys = stage.build().needs, width
    if "keys" in needs:
        keys = tower.width // tower.heads
        if batch is not None and stage.location == "decoder":
            keys = batch.scored.head_dim
    elif "values" in needs and batch is not None:
        keys = batch.scored.kv_heads * batch.scored.head_dim
    return Work(step.before, step.after, width, keys, frames, query)


def tower_scores(bound: BoundAdapter, stages: Sequence[Stage], block: int, rows: Sequence[float]) -> float:
    """FLOPs of attention scores taken in a block of a tower, for stages of its modality.

    Args:
        bound: of the model.
        stages: of one modality.
        block: of its tower.
        rows: of each of the block's segments.
    """
    for stage in stages:
        if stage.location not in ("encoder", "projector"):
            continue
        for need in (TOWER_SCORES - {"keys"}) & set(stage.build().needs):
            scored = {layer for layer, _ in stage.steps()}
            if stage.location == "projector":
                scored = {bound.score_block(stage.modality, need)}
            if block in scored:
                return 2 * bound.tower(stage.modality).width * sum(r * r for r in rows)
    return 0.0


def tower_mechanism(
    bound: BoundAdapter, stage: Stage, items: Sequence[Item], before: Sequence[int], after: Sequence[int]
) -> float:
    """FLOPs of the mechanism of an encoder stage, on the padded items; on each tile of a tiled tower.

    Args:
        bound: of the model.
        stage: that acts.
        items: that it acts on.
        before, after: units of each.
    """
    frames = max(item.grid[0] for item in items)
    if bound.tower(stage.modality).tiled:
        sizes = [[len(tile) for tile in bound.segments(item, 0)] for item in items]
        before = [n for count, tiles in zip(before, sizes, strict=True) for n in spread(count, tiles)]
        after = [n for count, tiles in zip(after, sizes, strict=True) for n in spread(count, tiles)]
    step = Reduced(stage, len(before), max(before), max(after))
    return step.items * stage.build().flops(_work(bound, step, frames, None))


def language_model_scoring(bound: BoundAdapter, step: Reduced, batch: Batch, frames: int) -> float:
    """FLOPs of one projector or decoder reduction: scores on a padded batch, and the mechanism on the padded items.

    Args:
        bound: of the model.
        step: what is reduced.
        batch: whose prompts hold the items.
        frames: most frames of an item.
    """
    mechanism = step.stage.build()
    needs = set(mechanism.needs)
    flops = float(step.items * mechanism.flops(_work(bound, step, frames, batch)))
    if "text_similarity" in needs:
        flops += 2 * step.items * step.before * bound.decoder.width
    if step.stage.location == "decoder" and needs & LAYER_SCORES:
        flops += _attention_scores(bound, step, batch, needs)
    return flops


def _attention_scores(bound: BoundAdapter, step: Reduced, batch: Batch, needs: set[Score]) -> float:
    """FLOPs of the rows of a decoder layer's attention that a stage asks for."""
    layer, rows, length = batch.scored, batch.rows, batch.length
    width = layer.heads * layer.head_dim
    media = step.items * step.before
    # Query rows that are projected and multiplied with every key of the sequence.
    queries: dict[Score, int] = {
        "last_query_attention": rows,
        "text_attention": rows * batch.query,
        "received_attention": media,
        "attention_rank": rows * length,
    }
    flops = 0.0
    flops += sum(2 * queries[need] * length * width for need in needs & {*queries} - {"attention_rank"})
    if "attention_rank" in needs:
        # Attention of all pairs, made once, and its rounds, all heads together (AIM, 2412.03248).
        flops += RANK_ROUNDS * 2 * rows * length * length * (width + layer.heads)
    if "global_query_attention" in needs:
        flops += 2 * media * width
    if step.stage.build().score_source == "own":
        # Nothing was captured: keys (and values) of the whole sequence and the queries asked for are projected anew.
        matrices = 2 if needs & {"values", "text_values"} else 1
        flops += matrices * 2 * rows * length * bound.decoder.width * layer.kv_heads * layer.head_dim
        projected = sum(queries[need] for need in needs & {*queries})
        projected += media if "global_query_attention" in needs else 0
        flops += 2 * projected * bound.decoder.width * width
    return flops
