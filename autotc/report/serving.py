"""What `autotc bench --engine vllm` prints: both sides at every number of requests under way, and warnings."""

from __future__ import annotations

from autotc.records.serving import Serving, ServingSide
from autotc.report.tables import table

_HEADERS = ("at once", "", "requests a second", "first token ms", "p99", "ms a token", "p99", "prompt tokens")


def serving_text(serving: Serving) -> str:
    """What was measured; both sides of every row; gains, and where there is none."""
    traffic = serving.traffic
    what = f"{traffic['width']}x{traffic['height']} pixels"
    if (traffic["frames"] or 1) > 1:
        what += f", {traffic['frames']} frames"
    sides = [
        [row.concurrency, name, *_side(side)]
        for row in serving.rows
        for name, side in (("policy", row.policy), ("uncompressed", row.baseline))
    ]
    gains = [
        [row.concurrency, row.requests, f"{row.speedup.mean:.2f}", f"{row.speedup.low:.2f} to {row.speedup.high:.2f}"]
        for row in serving.rows
    ]
    out = [
        f"{serving.label}\nin vLLM, {serving.model}; requests of {what} and {traffic['text']} words,"
        f" {traffic['new_tokens']} tokens each",
        table(_HEADERS, sides),
        table(("at once", "requests", "times the requests a second", "95%"), gains),
        f"FLOPs of a prefill alone: {serving.predicted_speedup:.2f} times fewer",
    ]
    out += [
        f"warning: with {row.concurrency} at once {row.fewer_tokens:.2f} times fewer tokens give"
        f" {1 / row.speedup.mean:.2f} times fewer requests a second"
        for row in serving.rows
        if row.slower
    ]
    return "\n\n".join(out)


def _side(side: ServingSide) -> list[object]:
    return [
        f"{side.requests_per_second:.2f}",
        f"{side.first_token_ms:.0f}",
        f"{side.first_token_p99_ms:.0f}",
        f"{side.output_token_ms:.1f}",
        f"{side.output_token_p99_ms:.1f}",
        f"{side.prompt_tokens:.0f}",
    ]
