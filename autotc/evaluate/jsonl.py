"""The evaluator on the user's own data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotc.errors import DataError, one_line, quote
from autotc.evaluate.batches import chat_text
from autotc.evaluate.conversations import Turn, texts_of
from autotc.evaluate.fields import KINDS, Kind
from autotc.evaluate.identity import media_digest
from autotc.evaluate.media import Reading, load_image, load_video, shown_name
from autotc.evaluate.metrics import Metric, metric_of
from autotc.evaluate.model import ModelEvaluator
from autotc.evaluate.records import PROCESSOR_KEYS, Record, load_records, record_clusters, split_records
from autotc.evaluate.samples import Media, Sample
from autotc.tiny import load
from autotc.vocabulary import Group, Split


class JsonlEvaluator(ModelEvaluator):
    """Evaluates on the user's own data.

    Args:
        path: data file; see `autotc.evaluate.records.load_records`.
        model, processor: as loaded by transformers; None takes the embedded model.
        metric: a name of `autotc.evaluate.metrics.METRICS`, ``module:function``, or a function (said, right) -> score
            in [0, 1]. Of several right answers the best score counts, and the first one's log-probability.
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
        score = metric_of(metric)
        records = load_records(path, score)
        if model is None:
            model, processor = load()
        super().__init__(
            model, processor, metric=score, seed=seed, batch_size=batch_size, max_new_tokens=max_new_tokens
        )
        for record in records:
            lacking = [part for part in Group(record.modality).modalities if part not in self.locations]
            if lacking:
                raise DataError(
                    f"{path}: {record.place}: {lacking[0]}: given; {type(model).__name__} takes"
                    f" {', '.join(self.locations)}"
                )
        _check_prompts(path, records, processor)
        _check_turns(path, records, self.processor)
        reading = Reading.of(processor)
        cluster = record_clusters(records)
        self._records = split_records(records, seed)
        self._splits: dict[Split, list[Sample]] = {
            split: [_sample(path, record, reading, cluster[record.id]) for record in members]
            for split, members in self._records.items()
        }
        held = [part for record in records for part in Group(record.modality).modalities]
        self.modalities = tuple(name for name in KINDS.values() if name in held)

    def samples(self, split: Split) -> Sequence[Sample]:
        return self._splits[split]

    def media_digest(self, split: Split) -> str:
        return media_digest(path for record in self._records[split] for path in record.media)


def _sample(file: str | Path, record: Record, reading: Reading, cluster: str) -> Sample:
    return Sample(
        record.id,
        Path(file).stem,
        record.modality,
        record.prompt,
        record.answer,
        functools.partial(_load, file, record, reading),
        where=f"{shown_name(file)}: {record.place}",
        turns=record.turns,
        others=record.others,
        metric=record.metric,
        cluster=cluster,
    )


def _check_prompts(file: str | Path, records: Sequence[Record], processor: Any) -> None:
    """Refuse texts that hold the model's own placeholders: it would look for media there.

    Raises:
        DataError: naming the data file and the line.
    """
    for record in records:
        for key, text in texts_of(record.turns) or [("prompt", record.prompt)]:
            check_prompt(text, processor, f"{shown_name(file)}: {record.place}: {key}")


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


def _check_turns(file: str | Path, records: Sequence[Record], processor: Any) -> None:
    """Refuse conversations that the model's chat template does not take, or of which it leaves something out.

    Raises:
        DataError: naming the data file, the line and the part.
    """
    for record in records:
        for told in _left_out(record.turns, processor) if record.turns else ():
            raise DataError(f"{shown_name(file)}: {record.place}: {told}")


def _left_out(turns: Sequence[Turn], processor: Any) -> Iterator[str]:
    """What is wrong with a conversation under a chat template."""
    try:
        written = " ".join(chat_text(processor, turns).split())
    except Exception as error:  # a template raises what it likes
        yield f"the model's chat template does not take these turns ({one_line(error, 120)})"
        return
    for role, text in texts_of(turns):
        if " ".join(text.split()) not in written:
            yield f"{role}: {quote(text)} is left out by the model's chat template; put it into the prompt"


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
                raise DataError(f"{shown_name(file)}: {record.place}: {kind}: {error}") from error
    return media
