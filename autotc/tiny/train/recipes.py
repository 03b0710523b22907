"""The stages of training, one row each.

Towers and decoder do not depend on each other and may run side by side:

1. ``vision``, ``crowded``, ``recrowded`` and ``audio``: each tower learns to put the sum of fixed word embeddings (its
   digit, its colour, ...) on each output unit, by dense labels: cross-entropy against the table of embeddings plus
   squared error. The second and third go on from the one before with more digits in a picture.
2. ``decoder``: the language model learns all tasks on *symbolic scenes*, in which those sums replace the tower's output
   and most of the empty units are left out. All questions of a scene are packed behind it and do not see each other.
   Auxiliary heads on the middle layers name row, column and ordinal of each labelled unit; they are thrown away.
   ``matching`` and then ``chorus`` go on from it with more of the tasks that come late, and a head that names the
   colour of the digit that is being said; in a chorus several are.
3. ``joint``: everything together on real inputs, at a low rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LATE_TASKS = ("image", "image+audio", "video", "image+audio", "image", "video", "audio")


@dataclass(frozen=True)
class Recipe:
    """One stage of training.

    Attributes:
        stage: its name, and the name of its checkpoint and log.
        trains: the part of the model whose weights move.
        steps: optimizer steps.
        peak_rate: learning rate at the end of the warm-up.
        seed: of the scenes; with the step's number it seeds each step.
        after: the stage whose weights it goes on from.
        horizon: steps after which the learning rate would be at its lowest (None: ``steps``).
        scenes: kinds of scenes, a batch each, in turn.
        image_digits: digits in a picture, of stages that train the vision tower.
        video_digits: digits in a video, of stages that train the vision tower.
    """

    stage: str
    trains: Literal["vision", "audio", "decoder", "all"]
    steps: int
    peak_rate: float
    seed: int
    after: str | None = None
    horizon: int | None = None
    scenes: tuple[str, ...] = ()
    image_digits: int = 0
    video_digits: int = 0


_RECIPES = (
    Recipe("vision", "vision", 2200, 3e-3, seed=11, image_digits=4, video_digits=3),
    Recipe("crowded", "vision", 2600, 2e-3, seed=15, after="vision", image_digits=6, video_digits=5),
    Recipe("recrowded", "vision", 900, 1.5e-3, seed=17, after="crowded", image_digits=6, video_digits=5),
    Recipe("audio", "audio", 900, 3e-3, seed=12),
    Recipe(
        "decoder",
        "decoder",
        2100,
        1.5e-3,
        seed=13,
        horizon=3800,
        scenes=("image", "video", "audio", "image", "video", "audio", "image+audio"),
    ),
    Recipe("matching", "decoder", 1300, 1.2e-3, seed=16, after="decoder", scenes=LATE_TASKS),
    Recipe(
        "chorus",
        "decoder",
        1200,
        1.2e-3,
        seed=18,
        after="matching",
        scenes=("chorus", "image", "image", "image+audio", "video", "image", "audio"),
    ),
    Recipe(
        "joint",
        "all",
        1300,
        5e-4,
        seed=14,
        scenes=("image", "video", "image", "audio", "video", "image+audio", "image"),
    ),
)

RECIPES: dict[str, Recipe] = {recipe.stage: recipe for recipe in _RECIPES}
"""Stage -> its recipe, in the order in which they run."""

JOINED = {"vision": "recrowded", "audio": "audio", "decoder": "chorus"}
"""Part of the model -> the stage whose weights the joint stage starts from."""
