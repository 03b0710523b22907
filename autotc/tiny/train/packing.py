"""Scenes with all their questions packed behind them, hidden from each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2_5OmniThinkerForConditionalGeneration

from autotc.tiny.config import VOCABULARY
from autotc.tiny.scenes import AudioScene, ImageScene, Question, Scene, TalkingScene
from autotc.tiny.sources import Ints

MEDIA_IDS = tuple(VOCABULARY[mark] for mark in ("<|IMAGE|>", "<|VIDEO|>", "<|AUDIO|>"))
PADDING = 99
"""Segment of the columns behind the last question; prefix and media are segment 0, questions count from 1."""


@dataclass
class Packed:
    """A batch of scenes of one modality with all their questions packed behind them.

    Attributes:
        units: kept unit indices of each scene, (B, N) long.
        labels: their labels, (B, N, 5) long.
        ids: token ids of prefix and questions, (B, L) long; unit places hold a placeholder id.
        places: column of each unit, (B, N) long.
        positions: M-RoPE positions, (3, B, L) long.
        mask: additive attention mask, (B, 1, L, L) float.
        targets: next-token targets, (B, L) long, -100 where none.
        tasks: task index of each target, (B, L) long.
    """

    units: Tensor
    labels: Tensor
    ids: Tensor
    places: Tensor
    positions: Tensor
    mask: Tensor
    targets: Tensor
    tasks: Tensor


class Packer:
    """Packs scenes; remembers each modality's prefix and the names of the tasks that it met.

    Attributes:
        tasks: names of the tasks met so far; `Packed.tasks` holds indices into it.
    """

    def __init__(self, model: Qwen2_5OmniThinkerForConditionalGeneration) -> None:
        self.tasks: list[str] = []
        self._model = model
        self._prefixes: dict[str, tuple[Tensor, Tensor]] = {}

    def pack(
        self, scenes: list[Scene], rng: np.random.Generator, *, blanks: int | None, max_questions: int = 7
    ) -> Packed:
        """Pack scenes of one modality.

        Args:
            scenes: the batch.
            rng: draws the units that stay and the questions.
            blanks: empty units that stay in each scene (None: all).
            max_questions: questions of a scene, at most.
        """
        ids, positions = self.prefix(scenes[0])
        is_media = torch.isin(ids, torch.tensor(MEDIA_IDS))
        labels = np.stack([scene.labels() for scene in scenes])
        kept = _kept_units(labels, rng, blanks)
        units = torch.from_numpy(kept)
        # The prefix keeps its delimiters; units left out leave a gap in the positions, as compression does.
        delimiters = (~is_media).nonzero()[:, 0].expand(len(scenes), -1)
        columns = torch.cat([delimiters, is_media.nonzero()[:, 0][units]], 1).sort(1).values
        questions = [_drawn(scene, rng, max_questions) for scene in scenes]
        room = columns.shape[1] + max(sum(len(_body(q)) for q in asked) for asked in questions)
        batch = _Batch(len(scenes), room, first_position=int(positions.max()) + 1)
        batch.put_prefix(ids[columns], positions[:, columns])
        for row, asked in enumerate(questions):
            batch.put_questions(row, columns.shape[1], asked, [self._task(scenes[row], q) for q in asked])
        places = torch.isin(batch.ids, torch.tensor(MEDIA_IDS)).nonzero()[:, 1].view(units.shape)
        shown = torch.from_numpy(np.take_along_axis(labels, kept[..., None], 1))
        return Packed(units, shown, batch.ids, places, batch.positions, batch.mask(), batch.targets, batch.tasks)

    def prefix(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """Token ids (P,) and positions (3, P) of user mark, media and their delimiters.

        The positions are the model's own, from ``get_rope_index``.
        """
        if scene.modality not in self._prefixes:
            ids = [VOCABULARY["<|user|>"]]
            grids: dict[str, Any] = {}
            for part in [scene.image, scene.audio] if isinstance(scene, TalkingScene) else [scene]:
                ids += _media_ids(part)
                grids |= _media_grid(part)
            tokens = torch.tensor([ids])
            if grids.keys() == {"audio_seqlens"}:
                positions = torch.arange(len(ids)).expand(3, 1, -1)
            else:
                mask = torch.ones_like(tokens)
                positions, _ = self._model.model.get_rope_index(tokens, attention_mask=mask, **grids)
            self._prefixes[scene.modality] = (tokens[0], positions[:, 0])
        return self._prefixes[scene.modality]

    def _task(self, scene: Scene, question: Question) -> int:
        name = f"{scene.modality}.{question.task}"
        if name not in self.tasks:
            self.tasks.append(name)
        return self.tasks.index(name)


def _media_ids(scene: Scene) -> list[int]:
    """Placeholders of one item between its delimiters."""
    kind = _kind(scene)
    sense = "audio" if kind == "AUDIO" else "vision"
    units = [VOCABULARY[f"<|{kind}|>"]] * int(np.prod(scene.grid))
    return [VOCABULARY[f"<|{sense}_bos|>"], *units, VOCABULARY[f"<|{sense}_eos|>"]]


def _media_grid(scene: Scene) -> dict[str, Tensor]:
    """What ``get_rope_index`` is told of one item."""
    kind, (t, h, w) = _kind(scene), scene.grid
    if kind == "AUDIO":
        return {"audio_seqlens": torch.tensor([4 * t * h * w])}
    grid = {f"{kind.lower()}_grid_thw": torch.tensor([[t, 2 * h, 2 * w]])}
    return grid | ({"second_per_grids": torch.tensor([1.0])} if kind == "VIDEO" else {})


def _kind(scene: Scene) -> str:
    if isinstance(scene, AudioScene):
        return "AUDIO"
    return "IMAGE" if isinstance(scene, ImageScene) else "VIDEO"


def _kept_units(labels: Ints, rng: np.random.Generator, blanks: int | None) -> Ints:
    """Units that stay, (B, N) ascending: all that show something, and some of the empty ones."""
    scenes, units = labels.shape[:2]
    if blanks is None:
        return np.tile(np.arange(units), (scenes, 1))
    shown = labels[..., 0] > 0
    size = min(units, int(shown.sum(1).max()) + blanks)
    rank = rng.random(shown.shape) - shown
    return np.sort(np.argpartition(rank, size - 1, axis=1)[:, :size], axis=1)


def _drawn(scene: Scene, rng: np.random.Generator, max_questions: int) -> list[Question]:
    questions = scene.questions()
    return [questions[i] for i in rng.permutation(len(questions))[:max_questions]]


def _ids(words: str) -> list[int]:
    return [VOCABULARY[word] for word in words.split()]


def _body(question: Question) -> list[int]:
    """Token ids of a question and its answer; each is the target of the one before it, from the mark between on."""
    return [*_ids(question.query), VOCABULARY["<|assistant|>"], *_ids(question.answer)]


class _Batch:
    """The tensors of a batch while they are filled."""

    def __init__(self, rows: int, columns: int, first_position: int) -> None:
        self.ids = torch.zeros(rows, columns, dtype=torch.long)
        self.positions = torch.zeros(3, rows, columns, dtype=torch.long)
        self.targets = torch.full((rows, columns), -100)
        self.tasks = torch.full((rows, columns), -1)
        self._segment = torch.zeros(rows, columns, dtype=torch.long)
        self._first_position = first_position

    def put_prefix(self, ids: Tensor, positions: Tensor) -> None:
        """Write token ids (B, P) and positions (3, B, P) in front."""
        self.ids[:, : ids.shape[1]] = ids
        self.positions[:, :, : ids.shape[1]] = positions

    def put_questions(self, row: int, start: int, questions: list[Question], tasks: list[int]) -> None:
        """Write one scene's questions from a column on; each begins at the same position."""
        for segment, (question, task) in enumerate(zip(questions, tasks, strict=True), start=1):
            body = _body(question)
            end = start + len(body)
            self.ids[row, start:end] = torch.tensor(body)
            self.positions[:, row, start:end] = self._first_position + torch.arange(len(body))
            self._segment[row, start:end] = segment
            answer = start + len(question.query.split())
            self.targets[row, answer:end] = torch.tensor([*_ids(question.answer), VOCABULARY["<|end|>"]])
            self.tasks[row, answer:end] = task
            start = end
        self._segment[row, start:] = PADDING

    def mask(self) -> Tensor:
        """(B, 1, L, L): causal; a question sees the prefix and itself."""
        column = torch.arange(self.ids.shape[1])
        causal = column[:, None] >= column[None, :]
        same = self._segment[:, :, None] == self._segment[:, None, :]
        visible = causal & (same | (self._segment == 0)[:, None, :])
        return torch.where(visible[:, None], 0.0, torch.finfo(torch.float32).min)
