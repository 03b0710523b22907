"""FitPrune's schedules, fitted to a model's attention, for the strategy that searches with them."""

from __future__ import annotations

from autotc.errors import PolicyError
from autotc.evaluate.base import Evaluator
from autotc.search.errors import SearchError
from autotc.vocabulary import Modality


def fitprune_ratios(evaluator: Evaluator, modality: Modality, keep: float) -> list[float] | None:
    """FitPrune's schedule on a model, the keep ratio before each decoder layer; None where none leaves so little.

    Args:
        evaluator: whose model's attention is read.
        modality: of the tokens.
        keep: mean keep ratio over the layers.

    Raises:
        SearchError: the evaluator offers no model to read.
    """
    # Imported here: it loads torch.
    from autotc.evaluate.fitting import fit_fitprune

    observable = evaluator.observable()
    if observable is None:
        raise SearchError("sampler: fitprune reads a model's attention, which this evaluator does not offer")
    try:
        fitted = fit_fitprune(observable, modality, keep)
    except PolicyError:
        return None
    steps = {layer or 0: ratio for stage in fitted.stages for layer, ratio in stage.steps()}
    ratios, now = [], 1.0
    for layer in range(evaluator.depths.decoder):
        now = steps.get(layer, now)
        ratios.append(now)
    return ratios
