"""Files to start from: the shipped example, or a search space that is written for a model, with samples it takes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from autotc.evaluate.factory import evaluator as make_evaluator
from autotc.evaluate.model import ModelEvaluator
from autotc.models import bind
from autotc.models.loading import load_model
from autotc.models.settings import AS_STORED, Loading
from autotc.resources import Example, search_space, write_example
from autotc.search.space import Choice, SearchSpace
from autotc.vocabulary import LOCATIONS, Location, Modality

_MEANING: dict[Location, str] = {
    "input": "before the tower: resolution, frames, length",
    "encoder": "inside the tower",
    "projector": "behind the tower, before the language model",
    "decoder": "before layers of the language model",
}


def init(
    folder: str | Path = ".", model: str | None = None, *, data: str | Path | None = None, loading: Loading = AS_STORED
) -> Example:
    """Write a search space and a small data file with its media into a folder, to start from.

    Args:
        folder: is made where it is missing.
        model: folder or hub name of a checkpoint that the space is written for: what it offers, each location's floor,
            sensible bounds, in comments; the samples are of the modalities that it takes. None takes the default space,
            which fits every model.
        data: file of the user's own that floors are told for; None takes the samples that are written.
        loading: how the checkpoint is loaded.

    Raises:
        DataError: the folder holds one of the files already, or cannot be written, or the checkpoint or the data is
            wrong; nothing is left behind then.
        UnsupportedModelError: no adapter knows the model.
        MissingDependencyError: Pillow or soundfile is not installed.

    Example:
        >>> autotc.init("example").space  # doctest: +SKIP
        PosixPath('example/space.yaml')
    """
    if model is None:
        return write_example(folder)
    loaded, processor = load_model(model, loading)
    modalities = tuple(bind(loaded).offers)
    with tempfile.TemporaryDirectory(prefix="autotc-init-") as beside:
        samples = write_example(Path(beside) / "example", modalities=modalities).data if data is None else Path(data)
        evaluator = make_evaluator(loaded, processor, data=samples)
        text = space_text(evaluator, model, "the samples beside it" if data is None else str(data))
    return write_example(folder, space=text, modalities=modalities)


def space_text(evaluator: ModelEvaluator, model: str, samples: str) -> str:
    """A commented search space for a model: what of the default space it offers, with each location's floor.

    Args:
        evaluator: of the model, on samples that floors are told for.
        model: its name.
        samples: what these are, in words.
    """
    space = SearchSpace.load(search_space())
    floors = evaluator.floors("search")
    depths = evaluator.depths
    lines = [
        f"# For {' '.join(model.split())} ({evaluator.model.architecture}): a decoder of {depths.decoder} layers.",
        f"# A floor is the lowest FLOPs ratio that stages at a location alone can reach, on {samples}:",
        "# a budget below it needs an earlier location. Depths are shares: layer k of n stands at k / n;",
        "# `layers: [2, 4]` in their place names layers.",
        "version: 1",
        f"step: {space.step:g}          # ratios are of N0, the item's uncompressed token count",
        "modalities:",
    ]
    for modality, part in space.modalities.items():
        if modality not in evaluator.modalities:
            continue
        lines += [f"  {modality}:", f"    max_stages: {part.max_stages}      # at ever deeper locations"]
        if part.presets is not None:
            lines.append(f"    presets: [{', '.join(part.presets)}]   # published methods to start with")
        lines.append("    choices:")
        lines += _choices(modality, part.choices, floors, {**depths.encoder, "decoder": depths.decoder})
    return "\n".join(lines) + "\n"


def _choices(
    modality: Modality, choices: tuple[Choice, ...], floors: Mapping[tuple[str, str], float], layers: Mapping[str, int]
) -> Iterator[str]:
    """Lines of a modality's choices, a comment before those of each location."""
    for location in LOCATIONS:
        floor = floors.get((modality, location))
        if floor is None:
            yield f"      # {location}: this model offers no stage there for {modality}"
            continue
        depth = {"encoder": f", {layers.get(modality, 0)} blocks", "decoder": f", {layers['decoder']} layers"}
        yield f"      # {location}: {_MEANING[location]}{depth.get(location, '')}; floor {floor:.3f}"
        for choice in choices:
            if choice.location == location:
                yield f"      - {{{_fields(choice)}}}"


def _fields(choice: Choice) -> str:
    """A choice as one line of YAML."""
    parts = [f"mechanism: {choice.mechanism}", f"location: {choice.location}"]
    if choice.depth is not None:
        parts.append(f"depth: [{choice.depth[0]:g}, {choice.depth[1]:g}]")
    if choice.layers:
        parts.append(f"layers: [{', '.join(map(str, choice.layers))}]")
    parts.append(f"keep_ratio: [{choice.keep_ratio[0]:g}, {choice.keep_ratio[1]:g}]")
    if choice.several:
        parts.append(f"schedules: [{', '.join(choice.schedules)}]")
    if choice.params:
        parts.append(f"params: {{{', '.join(f'{key}: {value}' for key, value in choice.params.items())}}}")
    return ", ".join(parts)
