"""How many tokens a keep ratio leaves: the one rounding rule, and that of serving engines."""

from __future__ import annotations


def target_count(keep_ratio: float, n0: int, left: int) -> int:
    """The one rounding rule: round(keep_ratio x n0) half up, at most what is left, at least 1.

    Args:
        keep_ratio: in (0, 1], relative to the item's uncompressed token count at the language model.
        n0: that count.
        left: tokens the item still has.
    """
    return max(1, min(left, int(keep_ratio * n0 + 0.5 + 1e-9)))


def pruning_rate(keep_ratio: float) -> float:
    """The share to prune that serving engines are told, as a decimal: what `autotc export` prints."""
    return round(1.0 - keep_ratio, 12)


def engine_count(keep_ratio: float, n0: int) -> int:
    """Tokens that serving engines leave of ``n0``, rounded down in their own binary arithmetic.

    At a rate of 0.9 they leave 9 of 100 tokens, since 1 - 0.9 lies below 0.1 in binary (vllm-project/vllm,
    `vllm/multimodal/video_prune/evs.py`; sgl-project/sglang, `srt/multimodal/evs/evs_core.py`; NVIDIA/TensorRT-LLM,
    `tensorrt_llm/inputs/evs.py`).
    """
    return int(n0 * (1.0 - pruning_rate(keep_ratio)))
