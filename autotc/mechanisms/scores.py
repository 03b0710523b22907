"""What a mechanism may ask the runtime for, beside the tokens, and where each score exists."""

from __future__ import annotations

from typing import Literal

from autotc.vocabulary import Location

Score = Literal[
    "last_query_attention",
    "text_attention",
    "received_attention",
    "global_query_attention",
    "attention_rank",
    "cls_attention",
    "middle_attention",
    "text_similarity",
    "text_features",
    "keys",
    "text_keys",
    "values",
    "text_values",
    "rotation",
    "representation_shift",
    "patch_embeddings",
    "features_before",
    "concurrent_retention",
    "concurrent_cosine",
]
"""What a mechanism may ask the runtime for, beside the tokens. (B, N) float unless a shape is given; T is the number of
tokens of the query span, right-aligned, zeros on padding.

- ``last_query_attention`` (decoder): attention of the prompt's last token to each token.
- ``text_attention`` (B, N, T) (decoder): attention of each query-span token to each token.
- ``received_attention``: mean attention a token receives from its item's tokens; in towers the item's sum to 1.
- ``global_query_attention`` (decoder): softmax over the item's keys for the mean of its queries, before rotation.
- ``attention_rank`` (decoder): PageRank of each token on the layer's sharpened attention between the prompt's tokens.
- ``cls_attention`` (projector): the class token's attention, the item's tokens scaled to sum to 1, in the tower's
  next-to-last block; ``received_attention``
  there where the tower has no class token.
- ``middle_attention`` (projector): ``received_attention`` in the block in the middle of the tower. Which blocks these
  are, the adapter says (`autotc.models.adapter.Adapter.score_block`).
- ``text_similarity``: cosine to the mean embedding of the query span.
- ``text_features`` (B, T, D): the query span's tokens as they stand where the stage acts.
- ``keys`` (B, N, Dk): mean over heads, before rotation: of the tower at encoder and projector, of the layer at decoder.
- ``text_keys`` (B, T, Dk) (decoder): the query span's keys.
- ``values`` (B, N, G, Dv) (decoder): of each head that has values of its own.
- ``text_values`` (B, T, G, Dv) (decoder): the query span's values.
- ``rotation`` (B, N, 2) (decoder): means over channels of the cosine and the sine that rotate a token's query and key.
- ``representation_shift``: norm of the change that the block before made to a token.
- ``patch_embeddings`` (B, N, P) (encoder): what the tower's first block gets of a token, its patches side by side; with
  positions where the tower adds them before that block.
- ``features_before`` (B, N, D) (decoder): the features as they stood in front of the layer before.
- ``concurrent_retention``: share kept, by earlier stages, of the companion modality's tokens that overlap a token in
  time; 1 where there is none (see `Mechanism.companion`).
- ``concurrent_cosine`` (projector): lowest cosine between neighbours of the companion modality's tokens, as they were
  before its stages there, of which the second begins within a token's time; 1 where there is none.
"""


LAYER_SCORES: frozenset[Score] = frozenset(
    {
        "last_query_attention",
        "text_attention",
        "received_attention",
        "global_query_attention",
        "attention_rank",
        "keys",
        "text_keys",
        "values",
        "text_values",
        "rotation",
    }
)
"""Scores that the decoder computes from a layer's queries, keys, values and rotation."""


BLOCK_SCORES: frozenset[Score] = frozenset({"representation_shift", "features_before"})
"""Scores of what the block before has made of a token: there are none in front of the first."""


TOWER_SCORES: frozenset[Score] = frozenset({"received_attention", "cls_attention", "middle_attention", "keys"})
"""Scores that a tower computes from a block's queries and keys."""


TEXT_SCORES: frozenset[Score] = frozenset(
    {"text_attention", "text_similarity", "text_features", "text_keys", "text_values"}
)
"""Scores that read the query span."""


RANK_ROUNDS = 5
"""Rounds of ``attention_rank``, as in AIM's official code (2412.03248)."""


RANK_TEMPERATURE = 0.1
"""What the attention scores of ``attention_rank`` are divided by there."""


SCORES_AT: dict[Location, frozenset[Score]] = {
    "input": frozenset(),
    "encoder": TOWER_SCORES - {"middle_attention"} | {"representation_shift", "patch_embeddings"},
    "projector": TOWER_SCORES | {"text_similarity", "text_features", "concurrent_retention", "concurrent_cosine"},
    "decoder": LAYER_SCORES | BLOCK_SCORES | {"text_similarity", "text_features", "concurrent_retention"},
}
"""Scores that exist at each location."""
