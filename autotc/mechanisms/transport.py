"""Optimal transport between sets of tokens."""

from __future__ import annotations

from autotc.lazy import Tensor, torch


def sinkhorn(cost: Tensor, source: Tensor, sink: Tensor, entropy: float, rounds: int) -> Tensor:
    """Plan of least cost less entropy that moves one mass to another, (Q, K, L), by Sinkhorn's iteration on logarithms.

    The last half-step is the sources': rows of the plan sum to them exactly.

    Args:
        cost: (Q, K, L) float, of moving from each source to each sink.
        source: (Q, K) float, masses that sum to 1; 0 on padding.
        sink: (Q, L) float, likewise.
        entropy: its weight.
        rounds: iterations.
    """
    kernel = -cost / entropy
    of_source, of_sink = source.log(), sink.log()
    left = torch.zeros_like(of_source).masked_fill(source == 0, -torch.inf)
    right = torch.zeros_like(of_sink)
    for _ in range(rounds):
        right = of_sink - (kernel + left[:, :, None]).logsumexp(1)
        left = of_source - (kernel + right[:, None]).logsumexp(2)
    return (left[:, :, None] + kernel + right[:, None]).exp()


def lightest(value: Tensor, present: Tensor, temperature: float) -> Tensor:
    """Masses of tokens, (Q, K), that sum to 1: the more a token is worth, the less; 0 on padding.

    Args:
        value: (Q, K) float, not negative; taken as a share of the row's largest.
        present: (Q, K) bool.
        temperature: of the softmax.
    """
    value = value.masked_fill(~present, 0.0)
    share = value / (value.amax(1, keepdim=True) + 1e-8)
    return (-share / temperature).masked_fill(~present, -torch.inf).softmax(1)
