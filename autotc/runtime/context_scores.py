"""Scores that read no layer: of the query span's embeddings, and of what became of the companion modality."""

from __future__ import annotations

from torch import Tensor

from autotc.mechanisms import Score
from autotc.runtime.columns import gather_columns, query_columns
from autotc.runtime.prompt import PromptState
from autotc.runtime.scores import text_similarity
from autotc.runtime.steps import Step
from autotc.runtime.tracks import Track, concurrent_cosine, concurrent_retention


def context_scores(
    state: PromptState, track: Track, step: Step, features: Tensor, values: Tensor
) -> dict[Score, Tensor]:
    """The scores of this kind that a step's mechanism needs.

    Args:
        state: of the prompt.
        track: of the step's modality.
        step: what asks.
        features: (I, N, D) of the track's tokens.
        values: (B, L, D) of the whole sequence, in which the query span stands.
    """
    needs, device = step.mechanism.needs, values.device
    scores: dict[Score, Tensor] = {}
    rows = track.batch_row.to(device, non_blocking=True)
    if "text_similarity" in needs:
        assert state.query is not None  # found at the language model's entry
        query = state.query.to(device, non_blocking=True)
        # Holes in front of the projector's stages are NaN: zeros in their place keep the sum clean.
        text = values.masked_fill(~query[..., None], 0.0)
        mean = text.sum(1) / query.to(values.dtype).sum(1, keepdim=True).clamp_min(1)
        scores["text_similarity"] = text_similarity(features, mean[rows])
    if "text_features" in needs:
        assert state.query is not None  # found at the language model's entry
        columns = query_columns(state.query).to(device)
        scores["text_features"] = gather_columns(values, rows, columns[rows])
    companion = None if step.mechanism.companion is None else state.tracks.get(step.mechanism.companion)
    if "concurrent_retention" in needs:
        scores["concurrent_retention"] = concurrent_retention(track, companion)
    if "concurrent_cosine" in needs:
        scores["concurrent_cosine"] = concurrent_cosine(track, companion)
    return scores
