"""Run a policy's projector stages on what a tower made of one modality's items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autotc.mechanisms import TOWER_SCORES, Score
from autotc.models import column_index
from autotc.runtime.scores import text_similarity
from autotc.runtime.steps import Step
from autotc.runtime.towers import TowerRun
from autotc.runtime.tracks import Track
from autotc.serve.vllm.sections import Section
from autotc.serve.vllm.serving import Serving
from autotc.vocabulary import Modality


@dataclass(frozen=True)
class Encoded:
    """One modality's items as they come from the tower.

    Attributes:
        sections: of the items, in order.
        rows: of each, what the engine's model made of its embedded tokens: (R, W).
        width: channels of W that are the language model's embedding; those behind it are deep-stack features.
        queries: of each, embeddings (T, width) of its prompt's query span; none where no stage reads it.
        tower: what the tower was seen to do; None where no stage reads its scores.
    """

    sections: Sequence[Section]
    rows: Sequence[Tensor]
    width: int
    queries: Sequence[Tensor] = ()
    tower: TowerRun | None = None


def reduce_items(serving: Serving, modality: Modality, encoded: Encoded) -> list[tuple[Tensor, Tensor]]:
    """What the projector stages leave of each item's units.

    Returns:
        For each item its survivors' rows (M, W), and (M,) long on the host, ascending: which units' positions they
        take.
    """
    items = [section.item for section in encoded.sections]
    device = encoded.rows[0].device
    track = Track.start(items, device)
    offsets = [item.offsets().to(device, non_blocking=True) for item in items]
    units = torch.cat([rows.index_select(0, at) for rows, at in zip(encoded.rows, offsets, strict=True)])
    index, valid = column_index([item.count for item in items])
    values = units[index.to(device)].masked_fill(~valid.to(device)[..., None], 0.0)
    serving.steps.begin()
    for step in serving.projector(modality):
        targets = serving.steps.budget(track, step)
        if targets is None:
            continue
        tokens = track.tokens(values[..., : encoded.width])
        with serving.steps.scoring():
            scores = _scores(serving, modality, step, track, tokens.features, encoded)
            reduction = serving.steps.run(step, tokens, targets, scores)
        serving.steps.done(step, tokens, scores, reduction)
        track.advance(reduction, tokens)
        values = reduction.apply(values)
    out = []
    for i, left in enumerate(track.lengths):
        start = values.shape[1] - left
        out.append((values[i, start:], track.ids[i, start:]))
    return out


def _scores(
    serving: Serving, modality: Modality, step: Step, track: Track, features: Tensor, encoded: Encoded
) -> dict[Score, Tensor]:
    """The scores that a step's mechanism needs; (B, N, width) are its tokens' features."""
    scores: dict[Score, Tensor] = {}
    for need in step.mechanism.needs:
        if need == "text_similarity":
            means = [query.sum(0) / max(len(query), 1) for query in encoded.queries]
            scores[need] = text_similarity(features, torch.stack(means))
        elif need == "text_features":
            index, valid = column_index([len(query) for query in encoded.queries])
            together = torch.cat([*encoded.queries, encoded.queries[0].new_zeros(1, encoded.width)])
            text = together[index.to(features.device)]
            scores[need] = text.masked_fill(~valid.to(features.device)[..., None], 0.0)
        elif need in TOWER_SCORES:
            assert encoded.tower is not None  # watched because of this need
            block = serving.bound.score_block(modality, need)
            scores[need] = encoded.tower.scored(block, need, track).to(features.device)
    return scores
