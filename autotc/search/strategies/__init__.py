"""Strategies: who proposes the next policy."""

from __future__ import annotations

from collections.abc import Callable

from autotc.search.engine import Strategy
from autotc.search.settings import Sampler
from autotc.vocabulary import Modality

Fit = Callable[[Modality, float], list[float] | None]
"""(modality, mean keep ratio) -> keep ratio before each decoder layer, fitted to the model's attention, or None."""


def build_strategy(name: Sampler, seed: int, fit: Fit) -> Strategy:
    """A strategy by name; importing this loads neither Optuna nor scikit-learn, building one may.

    Args:
        name: one of `autotc.search.settings.SAMPLERS`.
        seed: of its draws.
        fit: asked by ``fitprune`` alone.
    """
    from autotc.search.strategies import parts, published, sampled

    match name:
        case "parts":
            return parts.Parts(seed)
        case "gsearch":
            return published.GSearch(seed)
        case "vflowopt":
            return published.VFlowOpt(seed)
        case "fitprune":
            return published.FitPrune(seed, fit)
        case _:
            return sampled.Sampled(name, seed)


__all__ = ["Fit", "Strategy", "build_strategy"]
