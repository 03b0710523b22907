"""Carrying out the stages of `recipes`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from autotc.smol.language import load_language
from autotc.smol.model import WEIGHTS
from autotc.smol.scenes import draw_clip, draw_picture
from autotc.smol.train.data import TURNS, Batch, Batches, Speaker, build_batch
from autotc.smol.train.losses import PatchHeads, answer_loss, keeping_loss
from autotc.smol.train.parts import Sight, Speech, own_texts, prepared
from autotc.smol.train.recipes import ADAPTER_RATE, KEEP, Recipe
from autotc.smol.vocabulary import TASKS
from autotc.tiny.train.loop import RunningMeans, StageRun

LOG_EVERY = 50
_MEASURED = 8
"""Steps by which the speed is measured, behind as many that warm up, and those that were drawn ahead."""
_AHEAD = 4
"""Batches that each process draws ahead."""


@dataclass(frozen=True)
class Machine:
    """Where training runs: device, and processes that draw scenes."""

    device: torch.device
    workers: int


class Stage:
    """One stage in a folder.

    Args:
        recipe: which.
        out: folder of checkpoints and logs.
        machine: where it runs.
    """

    def __init__(self, recipe: Recipe, out: Path, machine: Machine) -> None:
        self.recipe, self.out, self.machine = recipe, out, machine
        self.tokenizer, rows = prepared(out)
        length = float(rows.pop("length"))
        self.sight, self.heads = Sight().to(machine.device), PatchHeads(rows, length).to(machine.device)
        self.speech: Speech | None = None
        self.texts: Tensor | None = None
        if recipe.stage != "dense":
            language = load_language().to(machine.device)
            binding = recipe.stage == "binding"
            if binding:
                self.texts = own_texts(language, 256, 64)
            self.speech = Speech(language, binding=binding).to(machine.device)
        self.modules: dict[str, nn.Module] = {"sight": self.sight, "heads": self.heads}
        if self.speech is not None:
            self.modules["changes"] = self.speech.changes
        if recipe.after:
            state = torch.load(out / f"{recipe.after}.pt", weights_only=True, map_location=machine.device)
            for name in ("sight", "heads"):
                self.modules[name].load_state_dict(state[name])

    def run(self, seconds: float | None) -> None:
        """Carry it out; ``seconds``: take so many steps as fit into this time instead of the recipe's."""
        if seconds is not None:
            self.recipe = replace(self.recipe, steps=self._fitting(seconds))
        run, means = StageRun(self.out, self.recipe, self.modules), RunningMeans()
        started = time.monotonic()
        batches = self._batches(self.recipe)
        for step, _, backward in run.steps(*self._groups()):
            loss, stats = self.losses(next(batches), step)
            backward(loss)
            if (step + 1) % LOG_EVERY == 0 or step + 1 == self.recipe.steps:
                means.add({name: float(value) for name, value in stats.items()})
                run.report(step + 1, of=self.recipe.steps, loss=float(loss.detach()), **means.take())
            elif step % 5 == 0:
                means.add({name: float(value) for name, value in stats.items()})
        if self.speech is not None:
            run.report(self.recipe.steps, took=time.monotonic() - started, **self.accuracy())

    def losses(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch, and what to log."""
        batch = batch.to(self.machine.device)
        with torch.autocast(self.machine.device.type, torch.bfloat16, enabled=self.machine.device.type == "cuda"):
            patches, summary = self.sight(batch.pixels)
            frames = batch.pixels.shape[0] * batch.pixels.shape[1]
            split = (frames, -1, patches.shape[-1])
            loss, stats = self.heads.loss(patches.reshape(split), summary, batch.labels.reshape(frames, -1, 4))
            if self.speech is None:
                return loss, stats
            logits = self.speech(batch.ids, patches, batch.targets >= 0)
            answered, shares = answer_loss(logits, batch)
            loss = self.recipe.dense * loss + answered
            stats = stats | shares | {"answers": answered.detach()}
            if self.texts is not None:
                kept = self._keeping(step)
                loss, stats["keeping"] = loss + KEEP * kept, kept.detach()
        return loss, stats

    def _keeping(self, step: int) -> Tensor:
        """Loss of a few of the language model's own texts."""
        assert self.texts is not None
        assert self.speech is not None
        some = self.texts[torch.arange(8, device=self.texts.device).add(8 * step) % len(self.texts)]
        with torch.no_grad(), self.speech.unchanged():
            before = self.speech.language(input_ids=some, use_cache=False).logits
        return keeping_loss(self.speech.language(input_ids=some, use_cache=False).logits, before)

    def _groups(self) -> list[tuple[list[nn.Parameter], float]]:
        groups = [([*self.sight.parameters(), *self.heads.parameters()], 1.0)]
        if self.speech is not None and len(self.speech.changes):
            groups.append((list(self.speech.changes), ADAPTER_RATE))
        return groups

    def _batches(self, recipe: Recipe) -> Iterator[Batch]:
        """Batches from the step on at which the checkpoint stands."""
        path = self.out / f"{recipe.stage}.pt"
        first = int(torch.load(path, weights_only=True, map_location="cpu")["step"]) if path.exists() else 0
        data = Batches(recipe, None if self.speech is None else self.tokenizer)
        loader = DataLoader(
            Subset(data, range(first, recipe.steps)),
            batch_size=None,
            num_workers=self.machine.workers,
            pin_memory=self.machine.device.type == "cuda",
            prefetch_factor=_AHEAD if self.machine.workers else None,
        )
        return iter(loader)

    def _fitting(self, seconds: float) -> int:
        """Steps that fit into a time, by the speed of a few that move nothing."""
        # Where nothing is said, drawing is what takes the time; what was drawn ahead would hide it.
        warm = _MEASURED + (_AHEAD * self.machine.workers if self.speech is None else 0)
        batches = self._batches(replace(self.recipe, steps=warm + _MEASURED + self.machine.workers))
        start = time.monotonic()
        for step, batch in enumerate(batches):
            if step == warm:
                start = time.monotonic()
            loss, _ = self.losses(batch, step)
            loss.backward()  # type: ignore[no-untyped-call]
            float(loss.detach())
        each = (time.monotonic() - start) / (_MEASURED + self.machine.workers)
        for module in self.modules.values():
            module.zero_grad(set_to_none=True)
        print(f"{self.recipe.stage}: {each:.3f} s a step, {int(seconds / each)} steps", flush=True)
        return max(2, int(seconds / each))

    @torch.no_grad()
    def accuracy(self, scenes: int = 256) -> dict[str, float]:
        """Share of questions about new scenes, of the benchmark's part of the photographs, whose answer is right."""
        assert self.speech is not None
        speaker, right, asked = Speaker(self.tokenizer), np.zeros(len(TASKS)), np.zeros(len(TASKS))
        for first in range(0, scenes, 64):
            rng = np.random.default_rng([99, first])
            drawn = (
                [draw_clip(rng, "benchmark") for _ in range(16)]
                if first % 256 == 0
                else [draw_picture(rng, "benchmark", crowd=bool(rng.random() < 0.25)) for _ in range(64)]
            )
            batch = build_batch(drawn, rng, speaker).to(self.machine.device)
            at = batch.targets >= 0
            with torch.autocast(self.machine.device.type, torch.bfloat16, enabled=self.machine.device.type == "cuda"):
                logits = self.speech(batch.ids, self.sight(batch.pixels)[0], at)
            wrong = (logits.argmax(1) != batch.targets[at]).cpu().numpy()
            answer = (at.nonzero()[:, 0] * TURNS + batch.turns[at]).cpu().numpy()
            answers, places = np.unique(answer, return_index=True)
            tasks, missed = batch.tasks[at].cpu().numpy()[places], np.bincount(answer, wrong)[answers] > 0
            right += np.bincount(tasks[~missed], minlength=len(TASKS))
            asked += np.bincount(tasks, minlength=len(TASKS))
        return {task: float(right[i] / asked[i]) for i, task in enumerate(TASKS) if asked[i]}


def export(out: Path, folder: Path) -> None:
    """Write tower, projector and low-rank changes in half precision, as `autotc.smol.model.load` reads them."""
    state = torch.load(out / "binding.pt", weights_only=True, map_location="cpu")
    speech = Speech(load_language(), binding=True)
    speech.changes.load_state_dict(state["changes"])
    kept = {f"sight.{name}": value for name, value in state["sight"].items()}
    kept |= {f"language.{name}": value for name, value in speech.merged().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.to(torch.float16).contiguous() for name, value in kept.items()}, folder / WEIGHTS)
