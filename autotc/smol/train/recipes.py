"""The stages of training, one row each.

1. ``dense``: tower and projector learn to say on every patch what it shows, in the directions of the language model's
   own word embeddings, by dense labels; heads name its row and column. The language model does not run.
2. ``frozen``: questions and answers; tower and projector move, the language model stays as it is.
3. ``binding``: questions and answers once more, with low-rank changes to the language model, and its own texts beside
   them, which it is to go on with as before.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """One stage of training.

    Attributes:
        stage: its name, and the name of its checkpoint and log.
        steps: optimizer steps.
        batch: pictures a step; of clips, which have four pictures each, an eighth.
        peak_rate: learning rate of tower and projector at the end of the warm-up.
        seed: of the scenes; with the step's number it seeds each step.
        after: the stage whose weights it goes on from.
        horizon: steps after which the learning rate would be at its lowest (None: ``steps``).
        clips: one step of so many is of clips (0: none is).
        dense: weight of the dense labels' loss beside that of the answers.
    """

    stage: str
    steps: int
    batch: int
    peak_rate: float
    seed: int
    after: str | None = None
    horizon: int | None = None
    clips: int = 0
    dense: float = 1.0


RECIPES = {
    recipe.stage: recipe
    for recipe in (
        Recipe("dense", 2000, 512, 1e-3, seed=21),
        Recipe("frozen", 800, 256, 5e-4, seed=22, after="dense", clips=4, dense=0.3),
        Recipe("binding", 1600, 256, 4e-4, seed=23, after="frozen", clips=4, dense=0.2),
    )
}
RANK = 8
"""Of the changes to each weight matrix of the language model."""
ADAPTER_RATE = 2.5
"""Learning rate of the low-rank changes, as a multiple of the others'."""
KEEP = 0.5
"""Weight of the loss of texts that the language model is to go on with as before."""
