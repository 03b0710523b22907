"""The embedded benchmark: handwritten and spoken digits in images, videos and audio clips, asked of `tiny-omni`."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from autotc.evaluate.model import ModelEvaluator
from autotc.evaluate.samples import Sample
from autotc.tiny import load
from autotc.tiny.scenes import SCENES, AudioScene, ImageScene, Scene, TalkingScene
from autotc.tiny.sources import load_sources
from autotc.vocabulary import Split

TASKS: dict[str, tuple[str, ...]] = {
    "image": ("detail", "count", "order"),
    "video": ("order", "motion", "list", "detail"),
    "audio": ("position", "count", "loud", "list"),
    "image+audio": ("both",),
}
"""Tasks of each modality group, asked in turn."""
SIZES: dict[Split, dict[str, int]] = {
    "search": {"image": 200, "video": 200, "audio": 200, "image+audio": 100},
    "val": {"image": 200, "video": 200, "audio": 200, "image+audio": 100},
    "test": {"image": 600, "video": 600, "audio": 600, "image+audio": 300},
}


def _media(scene: Scene) -> Mapping[str, list[Any]]:
    if isinstance(scene, TalkingScene):
        return {"images": [scene.image.render()], "audio": [scene.audio.render()]}
    if isinstance(scene, ImageScene):
        return {"images": [scene.render()]}
    if isinstance(scene, AudioScene):
        return {"audio": [scene.render()]}
    return {"videos": [scene.render()]}  # type: ignore[attr-defined]


@functools.cache
def build_samples(split: Split, seed: int) -> tuple[Sample, ...]:
    """Samples of a split; groups one after the other, tasks in turn, one scene a sample."""
    sources = load_sources(split)
    out = []
    for g, (group, tasks) in enumerate(TASKS.items()):
        for i in range(SIZES[split][group]):
            task = tasks[i % len(tasks)]
            rng = np.random.default_rng([seed, ("search", "val", "test").index(split), g, i])
            while True:
                scene = SCENES[group](rng, sources)
                questions = [q for q in scene.questions() if q.task == task]
                if questions:
                    break
            question = questions[int(rng.integers(len(questions)))]
            media = functools.partial(_media, scene)
            out.append(
                Sample(f"{split}-{group}-{i:04d}", f"{group}.{task}", group, question.query, question.answer, media)
            )
    return tuple(out)


class BuiltinEvaluator(ModelEvaluator):
    """`tiny-omni` on its own benchmark; splits share no digit image and no voice.

    Args:
        model, processor: another model of the same vocabulary (default: the embedded one).
        seed: of the samples.
    """

    name = "builtin"
    modalities = ("image", "video", "audio")
    wrong_token_decides = True

    def __init__(self, model: Any = None, processor: Any = None, *, seed: int = 0, batch_size: int = 100) -> None:
        if model is None:
            model, processor = load()
        super().__init__(model, processor, seed=seed, batch_size=batch_size, max_new_tokens=8)

    def shape_key(self, sample: Sample) -> Hashable:
        return sample.group, len(sample.prompt.split())

    def samples(self, split: Split) -> Sequence[Sample]:
        return build_samples(split, self.seed)
