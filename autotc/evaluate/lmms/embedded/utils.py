"""What the embedded tasks' YAML files name: media drawn anew from a document's id, and an exact match."""

from __future__ import annotations

import functools
from typing import Any

from autotc.evaluate.builtin import build_samples
from autotc.evaluate.measures import exact
from autotc.evaluate.samples import Sample
from autotc.tiny.config import RATE


@functools.cache
def _samples() -> dict[str, Sample]:
    return {sample.id: sample for sample in build_samples("test", 0)}


def doc_to_visual(doc: dict[str, Any]) -> list[Any]:
    """Media of a document, in the forms that lmms-eval's tasks use; a video is its frames."""
    from PIL import Image

    media = _samples()[doc["id"]].media()
    return [
        *(Image.fromarray(image) for image in media.get("images", [])),
        *({"type": "video", "url": [Image.fromarray(frame) for frame in video]} for video in media.get("videos", [])),
        *({"type": "audio", "array": wave, "sampling_rate": RATE} for wave in media.get("audio", [])),
    ]


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """1 where what was said is the answer up to white space and case."""
    return {"accuracy": exact(results[0], doc["answer"])}
