"""Stacks a small step from a stack: what a search tries next to what is good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autotc.policy import Stage
from autotc.search.budget import bounds, single_stage, with_ratios
from autotc.search.space import Choice, SearchSpace
from autotc.vocabulary import Modality

Stack = tuple[Stage, ...]


def neighbours(stages: Stack, space: SearchSpace, modality: Modality) -> Iterator[Stack]:
    """Stacks in which a ratio, a layer or a mechanism is changed, or a stage is added or left out."""
    for i, stage in enumerate(stages):
        yield from _other_ratios(stages, i, space)
        yield (*stages[:i], *stages[i + 1 :])
        choice = space.choice(stage)
        if choice is not None and {"step", "free"} & set(choice.schedules):
            yield from _other_layers(stages, i, choice, space.grid(choice))
        if stage.layers is None:
            yield from _other_choices(stages, i, space, modality)
    if len(stages) < space.modalities[modality].max_stages:
        yield from _one_more(stages, space, modality)


def may_act_once(choice: Choice) -> bool:
    """Whether a choice may act at one layer alone."""
    return bool({"single", "free"} & set(choice.schedules))


def interleaved(streams: Sequence[Iterator[Stack]]) -> Iterator[Stack]:
    """One of each stream in turn."""
    live = list(streams)
    while live:
        for stream in list(live):
            stack = next(stream, None)
            if stack is None:
                live.remove(stream)
            else:
                yield stack


def _other_ratios(stages: Stack, i: int, space: SearchSpace) -> Iterator[Stack]:
    """One ratio of stage ``i`` moved by one or two steps of the grid."""
    low, high, grid = bounds(stages[i], space)
    ratios = [round(ratio * 100) for _, ratio in stages[i].steps()]
    for j in range(len(ratios)):
        for step in (-grid, grid, -2 * grid, 2 * grid):
            moved = [*ratios[:j], ratios[j] + step, *ratios[j + 1 :]]
            if low <= moved[j] <= high and moved == sorted(set(moved), reverse=True):
                yield (*stages[:i], with_ratios(stages[i], moved), *stages[i + 1 :])


def _other_choices(stages: Stack, i: int, space: SearchSpace, modality: Modality) -> Iterator[Stack]:
    """Stage ``i`` replaced by another layer or mechanism at its location, at its ratio as nearly as allowed."""
    stage = stages[i]
    for choice in space.modalities[modality].choices:
        for layer in choice.layers or (None,):
            ratio = min(max(stage.final_ratio, choice.keep_ratio[0]), choice.keep_ratio[1])
            other = single_stage(modality, choice, layer, round(ratio * 100))
            if other != stage and choice.location == stage.location and may_act_once(choice):
                yield (*stages[:i], other, *stages[i + 1 :])


def _one_more(stages: Stack, space: SearchSpace, modality: Modality) -> Iterator[Stack]:
    """A stage added at a location that has none."""
    for choice in space.modalities[modality].choices:
        if not may_act_once(choice):
            continue
        low, high = (round(ratio * 100) for ratio in choice.keep_ratio)
        for layer in choice.layers or (None,):
            for percent in range(low, high + 1, space.grid(choice)):
                added = single_stage(modality, choice, layer, percent)
                if all(added.location != stage.location for stage in stages):
                    yield (*stages, added)


def _other_layers(stages: tuple[Stage, ...], i: int, choice: Choice, grid: int) -> Iterator[tuple[Stage, ...]]:
    """Schedules with one step moved to another layer, left out, or put in."""
    stage = stages[i]
    low, high = (round(ratio * 100) for ratio in choice.keep_ratio)
    steps = {int(layer or 0): round(ratio * 100) for layer, ratio in stage.steps()}

    def written(changed: dict[int, int]) -> tuple[Stage, ...] | None:
        ordered = dict(sorted(changed.items()))
        if not ordered or list(ordered.values()) != sorted(set(ordered.values()), reverse=True):
            return None
        made: dict[str, object] = (
            {"layer": next(iter(ordered)), "keep_ratio": next(iter(ordered.values())) / 100, "layers": None}
            if len(ordered) == 1
            else {"layer": None, "keep_ratio": None, "layers": {k: v / 100 for k, v in ordered.items()}}
        )
        made["budget"] = choice.budget_at(next(iter(ordered)))
        return (*stages[:i], Stage.model_validate(stage.model_dump() | made), *stages[i + 1 :])

    for layer in choice.layers:
        if layer in steps:
            less = written({k: v for k, v in steps.items() if k != layer})
            if less is not None:
                yield less
            continue
        for other in steps:
            moved = written({(layer if k == other else k): v for k, v in steps.items()})
            if moved is not None:
                yield moved
        for percent in range(low, high + 1, grid):
            more = written({**steps, layer: percent})
            if more is not None:
                yield more
