"""FitPrune's schedules, fitted to a model's attention, for the strategy that searches with them."""

from __future__ import annotations

from autotc.budgets import AdaptiveBudget
from autotc.errors import PolicyError
from autotc.evaluate.base import Evaluator
from autotc.search.errors import SearchError
from autotc.search.space import Choice, SearchSpace
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


def fit_space(space: SearchSpace, evaluator: Evaluator) -> SearchSpace:
    """A space with the budgets that follow the item fitted to the model, each where its stage may first act.

    They are fitted without other stages before them: what a stack costs is measured in any case.

    Args:
        space: fitted to the model's depths.
        evaluator: model and samples, of whose search split some that hold the modality are read.

    Raises:
        SearchError: the evaluator offers no model to read.
        PolicyError: a score is the same of all samples, or does not exist on the model.
    """
    if all(choice.budget is None for part in space.modalities.values() for choice in part.choices):
        return space
    from autotc.evaluate.budgets import SAMPLES, fit_budget

    observable = evaluator.observable()
    if observable is None:
        raise SearchError("budget: adaptive is fitted to a model as it runs, which this evaluator does not offer")
    known: dict[tuple[Modality, str, int | None, AdaptiveBudget], AdaptiveBudget] = {}

    def fitted(modality: Modality, choice: Choice) -> Choice:
        budget, found = choice.budget, {}
        for layer in choice.layers or (None,):
            if budget is None:
                return choice
            key = modality, choice.location, layer, budget
            if key not in known:
                place = choice.location, layer
                known[key] = fit_budget(observable, budget, modality, place, samples=SAMPLES)
            found[-1 if layer is None else layer] = known[key]
        return choice.model_copy(update={"budgets": found})

    parts = {
        modality: part.model_copy(update={"choices": tuple(fitted(modality, choice) for choice in part.choices)})
        for modality, part in space.modalities.items()
    }
    return space.model_copy(update={"modalities": parts})
