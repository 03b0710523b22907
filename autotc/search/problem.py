"""What a search is about: a space that fits the model, a budget that can be met, and what policies cost."""

from __future__ import annotations

from dataclasses import dataclass

from autotc.evaluate.base import Evaluator
from autotc.latency import LatencyModel, place
from autotc.policy import UNCOMPRESSED
from autotc.search.budget import Budget, Costs
from autotc.search.engine import announce_stops
from autotc.search.errors import SearchError
from autotc.search.fitted import fit_space
from autotc.search.reach import check_reach, offered_locations
from autotc.search.settings import StudySettings
from autotc.search.space import SearchSpace
from autotc.vocabulary import SPLITS


@dataclass(frozen=True)
class Problem:
    """What is searched.

    Attributes:
        space: what may be proposed, on the modalities that the data holds.
        budget: what a policy may cost.
        budget_ms: of a sample's predicted prefill, in milliseconds; `budget` holds it relative to uncompressed.
        costs: of policies.
        floors: ``modality/location`` -> lowest FLOPs ratio of that modality's samples.
        lacking: choices of the space at locations that the model does not offer; they are left out.
    """

    space: SearchSpace
    budget: Budget
    budget_ms: float | None
    costs: Costs
    floors: dict[str, float]
    lacking: tuple[str, ...] = ()


def pose(settings: StudySettings, evaluator: Evaluator) -> Problem:
    """What a study's settings ask of an evaluator.

    Raises:
        SearchError: a budget is out of range or below what the space's locations reach, or the latency model is
            missing or does not know the space.
        SpaceError: the space does not fit the model.
        DataError: a sample of any split cannot be read, or the model does not take it.
    """
    _check_budgets(settings, evaluator)
    if settings.races:
        announce_stops(evaluator, settings.search_limit)
    floors = {f"{m}/{location}": floor for (m, location), floor in evaluator.floors("search").items()}
    fitted = SearchSpace.from_yaml(settings.space, "space").fit(evaluator.modalities, evaluator.depths)
    space, lacking = fitted.offered(offered_locations(evaluator))
    space = fit_space(space, evaluator)
    latency = None if settings.latency is None else LatencyModel.model_validate_json(settings.latency)
    costs = Costs(evaluator, latency)
    time = None if latency is None else _relative_time(settings.budget_ms, latency, space, costs)
    budget = Budget(settings.budget, settings.budgets, time, settings.budget_kv)
    _check_floors(space, budget, floors, evaluator)
    check_reach(space, budget, costs, evaluator)
    evaluator.check_media(SPLITS)  # not after all trials
    return Problem(space, budget, settings.budget_ms, costs, floors, tuple(lacking))


def _check_budgets(settings: StudySettings, evaluator: Evaluator) -> None:
    groups = evaluator.info("search").samples
    for modality in settings.budgets:
        if modality not in evaluator.modalities:
            held = ", ".join(evaluator.modalities)
            raise SearchError(f"budgets.{modality}: the data holds no such modality; it holds {held}")
        if modality not in groups:
            raise SearchError(
                f"budgets.{modality}: the data has no samples of {modality} alone; it has {', '.join(groups)}"
            )
    if settings.budget_ms is not None and settings.latency is None:
        raise SearchError("budget_ms: given without a latency model; autotc bench --calibrate makes one")


def _relative_time(milliseconds: float | None, latency: LatencyModel, space: SearchSpace, costs: Costs) -> float | None:
    """A budget in milliseconds relative to the uncompressed model's prediction."""
    lacking = latency.lacking(
        place(choice.mechanism, choice.location, modality)
        for modality, part in space.modalities.items()
        for choice in part.choices
        if choice.location != "input"
    )
    if lacking:
        more = f" and {len(lacking) - 3} others" if len(lacking) > 3 else ""
        raise SearchError(
            f"latency: the space has {', '.join(lacking[:3])}{more}, which the latency model does not know;"
            " autotc bench --calibrate --mechanisms NAMES learns them"
        )
    usual = costs(UNCOMPRESSED).milliseconds
    assert usual is not None  # there is a latency model
    if milliseconds is not None and milliseconds >= usual:
        raise SearchError(
            f"budget_ms: {milliseconds:g} given; uncompressed, a sample is predicted to take {usual:.4g} ms already"
        )
    return None if milliseconds is None else milliseconds / usual


def _check_floors(space: SearchSpace, budget: Budget, floors: dict[str, float], evaluator: Evaluator) -> None:
    lowest = {
        modality: min(floors.get(f"{modality}/{choice.location}", 1.0) for choice in part.choices)
        for modality, part in space.modalities.items()
    }
    for modality, floor in lowest.items():
        if budget.by.get(modality, 1.0) < floor:
            raise SearchError(
                f"budgets.{modality}: {budget.by[modality]:g} given; no location reaches below {floor:.3f}"
            )
    pure = set(lowest) <= set(evaluator.info("search").samples)
    if pure and budget.overall < min(lowest.values()):
        raise SearchError(f"budget: {budget.overall:g} given; no location reaches below {min(lowest.values()):.3f}")
