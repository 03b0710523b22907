"""Batches of scenes: pixels, labels of patches, and conversations about them as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from autotc.smol.config import END, START, TOKENS, VOCABULARY
from autotc.smol.scenes import Clip, Picture, Question, draw_clip, draw_picture, render
from autotc.smol.train.recipes import Recipe
from autotc.smol.vocabulary import FRAME_NAMES, TASKS

TURNS = 5
"""Questions about a scene, at most; each is a turn of one conversation."""
IGNORED = -100


@dataclass
class Batch:
    """Scenes of one kind.

    Attributes:
        pixels: (B, F, 192, 192, 3) uint8.
        labels: of patches, (B, F * 144, 4) long: shape + 1, colour + 1, word + 1 (0: none), texture.
        ids: of the conversations, (B, L) long, padded behind.
        targets: the id that comes next where an answer is said, else -100, (B, L) long.
        tasks: index into TASKS of the question that is answered, else -1, (B, L) long.
        turns: number of the question in its conversation, (B, L) long.
    """

    pixels: Tensor
    labels: Tensor
    ids: Tensor
    targets: Tensor
    tasks: Tensor
    turns: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))

    def pin_memory(self) -> Batch:
        """The same in memory that a GPU reads from; what DataLoader asks for."""
        return Batch(*(getattr(self, f.name).pin_memory() for f in fields(self)))


class Speaker:
    """Writes conversations as the chat template does, and remembers the ids of each piece."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        """Token ids of a piece of text."""
        if text not in self._known:
            self._known[text] = list(self._tokenizer(text, add_special_tokens=False).input_ids)
        return self._known[text]

    def conversation(self, questions: Sequence[Question], pictures: int, *, before: bool) -> list[tuple[int, int, int]]:
        """Ids of a conversation, each with the index of the task it answers (-1: none) and its turn.

        Args:
            questions: one a turn.
            pictures: that the first turn shows.
            before: whether the first question stands before them.
        """
        shown = [VOCABULARY] * (pictures * TOKENS)
        out: list[tuple[int, int, int]] = []
        for turn, question in enumerate(questions):
            asked = self.ids(question.text)
            media = [] if turn else shown
            opening = [*self.ids(f"{START}user\n"), *(asked + media if before else media + asked)]
            opening += self.ids(f"{END}\n{START}assistant\n")
            out += [(token, -1, turn) for token in opening]
            task = TASKS.index(question.task)
            out += [(token, task, turn) for token in [*self.ids(question.answer), *self.ids(END)]]
            out += [(token, -1, turn) for token in self.ids("\n")]
        return out


def build_batch(scenes: Sequence[Picture | Clip], rng: np.random.Generator, speaker: Speaker | None) -> Batch:
    """A batch of scenes of one kind, with conversations about them where somebody writes these."""
    pixels = np.stack([render(scene) for scene in scenes])
    talks: list[list[tuple[int, int, int]]] = [[(0, -1, 0)]] * len(scenes)
    if speaker is not None:
        talks = []
        for scene in scenes:
            asked = scene.questions()
            chosen = [asked[i] for i in _order(asked, rng)]
            talks.append(speaker.conversation(chosen, pixels.shape[1], before=bool(rng.random() < 0.5)))
    ids = np.full((len(scenes), max(map(len, talks))), 2)
    tasks, turns = np.full_like(ids, -1), np.zeros_like(ids)
    for row, talk in enumerate(talks):
        ids[row, : len(talk)], tasks[row, : len(talk)], turns[row, : len(talk)] = np.array(talk).T
    # What answers is predicted one token earlier.
    answers = np.roll(tasks, -1, 1)
    answers[:, -1] = -1
    targets = np.where(answers >= 0, np.roll(ids, -1, 1), IGNORED)
    labels = np.stack([scene.labels() for scene in scenes])
    return Batch(*(torch.from_numpy(made) for made in (pixels, labels, ids, targets, answers, turns)))


def _order(asked: Sequence[Question], rng: np.random.Generator) -> list[int]:
    """Questions drawn at random, each kind of them as likely as any other."""
    kinds = [question.task for question in asked]
    weights = np.array([1 / kinds.count(kind) for kind in kinds])
    size = min(TURNS, len(asked))
    return [int(i) for i in rng.choice(len(asked), size, replace=False, p=weights / weights.sum())]


class Batches(Dataset[Batch]):
    """The batch of each step of a stage, seeded by the stage and the step's number.

    Args:
        recipe: the stage.
        tokenizer: of the language model; None where nothing is said.
    """

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerBase | None) -> None:
        self._recipe = recipe
        self._speaker = None if tokenizer is None else Speaker(tokenizer)

    def __len__(self) -> int:
        return self._recipe.steps

    def __getitem__(self, step: int) -> Batch:
        recipe = self._recipe
        rng = np.random.default_rng([recipe.seed, step])
        if recipe.clips and step % recipe.clips == 0:
            clips = [draw_clip(rng, "training") for _ in range(max(1, recipe.batch // (2 * len(FRAME_NAMES))))]
            return build_batch(clips, rng, self._speaker)
        pictures = [draw_picture(rng, "training", crowd=bool(rng.random() < 0.25)) for _ in range(recipe.batch)]
        return build_batch(pictures, rng, self._speaker)
