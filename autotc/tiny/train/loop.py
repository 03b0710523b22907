"""The loop of a stage: learning rate, optimizer, log lines, checkpoints every five minutes, continuing from one."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

SECONDS_BETWEEN_CHECKPOINTS = 300
Step = tuple[int, np.random.Generator, Callable[[Tensor], None]]
"""Number of the step, its generator, and what takes a loss and moves the weights."""


class Recipe(Protocol):
    """What the loop has to know of a stage: its name, steps, seed and rate, and after how many steps that is lowest."""

    @property
    def stage(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def peak_rate(self) -> float: ...
    @property
    def horizon(self) -> int | None: ...


class StageRun:
    """One run of a stage in a folder: ``STAGE.pt`` is its checkpoint, ``STAGE.log`` its log.

    Args:
        out: the folder.
        recipe: the stage.
        modules: name in the checkpoint -> what is trained or kept with it.
    """

    def __init__(self, out: Path, recipe: Recipe, modules: dict[str, nn.Module]) -> None:
        self._recipe, self._modules = recipe, modules
        self._path = out / f"{recipe.stage}.pt"
        self._log = (out / f"{recipe.stage}.log").open("a")
        self._started = self._saved = time.monotonic()
        self._spent = 0.0

    def steps(self, *groups: tuple[Sequence[nn.Parameter], float]) -> Iterator[Step]:
        """Drive the stage from where its checkpoint stands; saves when a checkpoint is due.

        Args:
            groups: what moves, and its learning rate as a multiple of the recipe's.
        """
        optimizer = torch.optim.AdamW(
            [{"params": params} for params, _ in groups],
            lr=self._recipe.peak_rate,
            betas=(0.9, 0.98),
            weight_decay=0.02,
        )
        params = [param for group, _ in groups for param in group]

        def backward(loss: Tensor) -> None:
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(params, 1.0)
            optimizer.step()

        for step in range(self._resume(optimizer), self._recipe.steps):
            for group, (_, share) in zip(optimizer.param_groups, groups, strict=True):
                group["lr"] = share * self._rate(step)
            yield step, np.random.default_rng([self._recipe.seed, step]), backward
            if self._is_due(step + 1):
                self._save(step + 1, optimizer)

    def report(self, step: int, **values: float) -> None:
        """Write one line to the log and to the terminal."""
        line = json.dumps(
            {"step": step, "seconds": round(self._seconds()), **{k: round(v, 4) for k, v in values.items()}}
        )
        print(line, file=self._log, flush=True)
        print(self._recipe.stage, line, flush=True)

    def _rate(self, step: int) -> float:
        """Linear warm-up over 3%, then cosine to 2% of the peak."""
        horizon, peak = self._recipe.horizon or self._recipe.steps, self._recipe.peak_rate
        warm = max(1, int(0.03 * horizon))
        if step < warm:
            return peak * (step + 1) / warm
        part = (step - warm) / max(1, horizon - warm)
        return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * part)))

    def _seconds(self) -> float:
        return self._spent + time.monotonic() - self._started

    def _resume(self, optimizer: torch.optim.Optimizer) -> int:
        """Load the checkpoint if there is one; returns the next step."""
        if not self._path.exists():
            return 0
        state = torch.load(self._path, weights_only=True)
        for name, module in self._modules.items():
            module.load_state_dict(state[name])
        optimizer.load_state_dict(state["optimizer"])
        self._spent = state["seconds"]
        return int(state["step"])

    def _save(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Write the checkpoint beside the last one, then over it."""
        state: dict[str, Any] = {name: module.state_dict() for name, module in self._modules.items()}
        state |= {"optimizer": optimizer.state_dict(), "step": step, "seconds": self._seconds()}
        torch.save(state, self._path.with_suffix(".tmp"))
        self._path.with_suffix(".tmp").replace(self._path)
        self._saved = time.monotonic()

    def _is_due(self, step: int) -> bool:
        return time.monotonic() - self._saved > SECONDS_BETWEEN_CHECKPOINTS or step == self._recipe.steps


class RunningMeans:
    """Means of named values since they were last taken."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, values: dict[str, float]) -> None:
        """Add one batch's values."""
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)

    def take(self) -> dict[str, float]:
        """Means since the last call."""
        means = {name: float(np.mean(values)) for name, values in sorted(self._values.items())}
        self._values = {}
        return means
