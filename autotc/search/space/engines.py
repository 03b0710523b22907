"""What of a space a serving engine can run."""

from __future__ import annotations

from autotc.export import Engine
from autotc.search.space.errors import SpaceError
from autotc.search.space.model import ModalitySpace, SearchSpace
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
        capable = {(c.mechanism, c.location): c for c in engine.capable(modality, architecture)}
        choices = [
            choice.model_copy(update={"params": {**choice.params, **capable[key].params}})
            for choice in part.choices
            if (key := (choice.mechanism, choice.location)) in capable
        ]
        if choices:
            left[modality] = ModalitySpace(max_stages=1, choices=tuple(choices), presets=())
    if not left:
        has = ", ".join(f"{c.mechanism} at the {c.location} of {c.modality}" for c in engine.capabilities)
        where = f" of {architecture}" if architecture else ""
        raise SpaceError(f"deployable_on: {engine.title} can run nothing of this space{where}; it has {has}")
    return SearchSpace(version=space.version, step=space.step, deployable_on=engine.name, modalities=left)
