"""The evaluator on the user's own data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotc.errors import DataError, quote
from autotc.evaluate.identity import media_digest
from autotc.evaluate.media import Reading, load_image, load_video, shown_name
from autotc.evaluate.metrics import Metric, metric_of
from autotc.evaluate.model import ModelEvaluator
from autotc.evaluate.records import KINDS, PROCESSOR_KEYS, Kind, Record, load_jsonl, split_records
from autotc.evaluate.samples import Media, Sample
from autotc.tiny import load
from autotc.vocabulary import Group, Split


class JsonlEvaluator(ModelEvaluator):
    """Evaluates on the user's own data.

    Args:
        path: file of JSON lines.
        model, processor: as loaded by transformers; None takes the embedded model.
        metric: ``exact``, ``contains``, ``module:function``, or a function (said, right) -> score in [0, 1].
        seed: of the splits.
        batch_size: samples of one forward.
        max_new_tokens: limit of `generate()`.

    Raises:
        DataError: the file, a medium or the metric is wrong.
    """

    name = "jsonl"

    def __init__(
        self,
        path: str | Path,
        model: Any = None,
        processor: Any = None,
        *,
        metric: str | Metric = "exact",
        seed: int = 0,
        batch_size: int = 8,
        max_new_tokens: int = 64,
    ) -> None:
        records = load_jsonl(path)
        score = metric_of(metric)
        if model is None:
            model, processor = load()
        super().__init__(
            model, processor, metric=score, seed=seed, batch_size=batch_size, max_new_tokens=max_new_tokens
        )
        for record in records:
            lacking = [part for part in Group(record.modality).modalities if part not in self.locations]
            if lacking:
                raise DataError(
                    f"{path}: line {record.line}: {lacking[0]}: given; {type(model).__name__} takes"
                    f" {', '.join(self.locations)}"
                )
        _check_prompts(path, records, processor)
        reading = Reading.of(processor)
        task = Path(path).stem
        self._records = split_records(records, seed)
        self._splits: dict[Split, list[Sample]] = {
            split: [
                Sample(
                    r.id,
                    task,
                    r.modality,
                    r.prompt,
                    r.answer,
                    functools.partial(_load, path, r, reading),
                    where=f"{shown_name(path)}: line {r.line}",
                )
                for r in members
            ]
            for split, members in self._records.items()
        }
        held = [part for record in records for part in Group(record.modality).modalities]
        self.modalities = tuple(name for name in KINDS.values() if name in held)

    def samples(self, split: Split) -> Sequence[Sample]:
        return self._splits[split]

    def media_digest(self, split: Split) -> str:
        return media_digest(path for record in self._records[split] for path in record.media)


def _check_prompts(file: str | Path, records: Sequence[Record], processor: Any) -> None:
    """Refuse prompts that hold the model's own placeholders.

    Raises:
        DataError: naming the data file and the line.
    """
    for record in records:
        check_prompt(record.prompt, processor, f"{shown_name(file)}: line {record.line}: prompt")


def check_prompt(prompt: str, processor: Any, where: str) -> None:
    """Refuse a prompt that holds the model's own placeholders: it would look for media there.

    Args:
        prompt: text.
        processor: whose placeholders.
        where: the prompt stands, for errors.

    Raises:
        DataError: it holds one.
    """
    names = ("image_token", "video_token", "audio_token")
    for token in {str(token) for name in names if (token := getattr(processor, name, None))}:
        if token in prompt:
            raise DataError(
                f"{where}: holds {quote(token)}, which the model takes for a"
                " medium; leave it out, media stand before the prompt by themselves"
            )


def _load(file: str | Path, record: Record, reading: Reading) -> Media:
    """Media of a record, in the form that processors take.

    Raises:
        DataError: naming the data file, the line and the medium.
    """
    readers: dict[Kind, Callable[[Path], Any]] = {
        "images": lambda path: np.array(load_image(path)),
        "video": lambda path: load_video(path, reading.frames).frames,
        "audio": reading.sound,
    }
    media: dict[str, list[Any]] = {}
    for kind, read in readers.items():
        for path in getattr(record, kind):
            try:
                media.setdefault(PROCESSOR_KEYS[kind], []).append(read(path))
            except DataError as error:
                raise DataError(f"{shown_name(file)}: line {record.line}: {kind}: {error}") from error
    return media
