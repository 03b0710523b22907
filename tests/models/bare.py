"""What the bare model of a family cannot do, or does in another way: there a policy has nothing to be held against.

Each test that reads a table also sees that the bare model is still so.
"""

from __future__ import annotations

_LOOKS_BACK = "generate() looks for the pictures of all tokens among those that are new, and stops"
_NUMBERS = "generate() numbers the tokens of a second turn in another way than a call of the model"
_MASKS = "a picture's tokens see each other within one call, and not on a cache"
SECOND_TURN = {
    **dict.fromkeys(("glm4v", "glm4v_moe", "glm46v"), _LOOKS_BACK),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"), _LOOKS_BACK),
    **dict.fromkeys(("minicpmv4_7", "qwen2_5_omni", "qwen3_omni"), _NUMBERS),
    **dict.fromkeys(("gemma3", "gemma4_moe"), _MASKS),
}
"""Families whose ``generate()`` does not take a picture in a second turn, given all tokens so far."""

BEAMS = dict.fromkeys(("glm4v_moe", "glm46v"), "generate() splits pictures where there are none")
"""Families whose ``generate()`` has no beams for the tests' rows, which hold videos alone."""

EMBEDDINGS_REFUSED = dict.fromkeys(("glm4v_moe", "glm46v"), "looks for videos by the ids of frames")
"""Families that take no embeddings with media."""
_POSITIONS = "M-RoPE reads the ids; with embeddings alone tokens are numbered one by one"
_CLIPS = "the sound is put in by the ids"
EMBEDDINGS_DIFFER = {
    **dict.fromkeys(("glm4v", "minicpmv4_7", "qwen2_vl", "qwen2_5_vl", "qwen2_5_omni"), _POSITIONS),
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "qwen3_omni"), _POSITIONS),
    **dict.fromkeys(("qwen2_audio", "voxtral"), _CLIPS),
}
"""Families that give other logits for embeddings than for the ids that they are of."""

_READ = "reads weights, or makes tensors, on the device where offloaded ones are not"
OFFLOADED = dict.fromkeys(
    ("gemma4", "glm4v", "glm4v_moe", "glm46v", "idefics3", "minicpmv4_6", "minicpmv4_7", "qwen2_audio", "voxtral"),
    _READ,
)
"""Families whose model does not run with all weights offloaded."""
