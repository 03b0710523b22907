"""What of a space a serving engine can run."""

from __future__ import annotations

from autotc.export import Engine
from autotc.policy import Stage
from autotc.search.space.errors import SpaceError
from autotc.search.space.model import Choice, ModalitySpace, SearchSpace
from autotc.vocabulary import Modality


def deployable_space(space: SearchSpace, engine: Engine, architecture: str | None = None) -> SearchSpace:
    """What an engine can run of a space, with the parameters that it runs it with.

    Modalities for which nothing is left are left out, and so stay uncompressed.

    Args:
        space: to look at.
        engine: that policies are for.
        architecture: class of the model to be served; None for any.

    Raises:
        SpaceError: nothing is left.
    """
    left: dict[Modality, ModalitySpace] = {}
    for modality, part in space.modalities.items():
        choices = [run for choice in part.choices if (run := _as_run(choice, modality, engine, architecture))]
        if choices:
            most = engine.most_stages(part.max_stages)
            presets = part.presets if engine.reads_policies else ()
            left[modality] = ModalitySpace(max_stages=most, choices=tuple(choices), presets=presets)
    if not left:
        where = f" of {architecture}" if architecture else ""
        raise SpaceError(f"deployable_on: {engine.title} can run nothing of this space{where}; it has {engine.has()}")
    return SearchSpace(version=space.version, step=space.step, deployable_on=engine.name, modalities=left)


def _as_run(choice: Choice, modality: Modality, engine: Engine, architecture: str | None) -> Choice | None:
    """A choice with the parameters that the engine runs it with; None where it cannot."""
    stage = Stage(
        modality=modality,
        location=choice.location,
        layer=choice.some_layer,
        mechanism=choice.mechanism,
        keep_ratio=choice.keep_ratio[1],
        params=choice.params,
        budget=choice.budget,
    )
    if engine.refusal(stage, architecture) is not None:
        return None
    return choice.model_copy(update={"params": dict(engine.as_run(stage).params)})
