"""Scores that a tower's attention gives, read while vLLM's tower runs."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from autotc.errors import InputsError
from autotc.mechanisms import Score
from autotc.models import Item, Projections
from autotc.runtime.hooks import Hooks
from autotc.runtime.towers import TowerRun
from autotc.serve.vllm.serving import Serving
from autotc.vocabulary import Modality


class WatchedTower:
    """A tower whose blocks are watched for the scores that a modality's stages read.

    Args:
        serving: the policy.
        modality: what is encoded.
        blocks: of the tower.
        attention: name in a block of its attention, which is called as a module also where the block is not.
        projection: name in the attention of the layer that makes queries, keys and values.
    """

    def __init__(
        self, serving: Serving, modality: Modality, blocks: nn.Module, attention: str, projection: str
    ) -> None:
        self._serving, self._modality = serving, modality
        self._items: Sequence[Item] | None = None
        self._run: TowerRun | None = None
        self._hooks = Hooks()
        layers = list(blocks.children())
        for block, wanted in serving.tower_scores(modality).items():
            module = layers[block].get_submodule(attention)
            self._hooks.before(module, self._before_attention)
            projecting = module.get_submodule(projection)
            self._hooks.after(projecting, functools.partial(self._after_projection, block, wanted))

    @contextmanager
    def watching(self, items: Sequence[Item]) -> Iterator[list[TowerRun]]:
        """Watch the tower encode items of the modality; what was seen is in the list once it has.

        Raises:
            InputsError: nothing was seen, since the tower does not run its blocks one by one.
        """
        seen: list[TowerRun] = []
        self._items = items
        try:
            yield seen
            if self._run is None:
                raise InputsError(
                    f"{self._modality}: the tower runs as it was compiled or captured, where queries and keys cannot be"
                    " read; enforce_eager, or a mechanism that reads features alone, is right"
                )
            seen.append(self._run)
        finally:
            # The other modality's items go through the same tower.
            self._items, self._run = None, None

    def _before_attention(self, module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        if self._items is None:
            return
        hidden: Tensor = args[0] if args else kwargs["x" if "x" in kwargs else "hidden_states"]
        tiled = self._serving.bound.tower(self._modality).tiled
        rows = hidden if tiled else hidden.reshape(-1, hidden.shape[-1])
        if self._run is None:
            self._run = TowerRun(self._serving.bound, self._modality, self._items, rows, self._serving.steps)
        arguments: dict[str, object] = {}
        if not tiled:
            lengths: Tensor = kwargs["cu_seqlens"]
            if int(lengths[-1]) != len(rows):
                raise InputsError(
                    "mm_encoder_attn_backend: the tower's sequences are counted in another unit than rows; TORCH_SDPA"
                    " is right where a mechanism reads the tower's attention"
                )
            half = [kwargs["rotary_pos_emb_cos"], kwargs["rotary_pos_emb_sin"]]
            arguments = {"cu_seqlens": lengths, "position_embeddings": tuple(torch.cat([x, x], -1) for x in half)}
        self._run.watch(arguments)

    def _after_projection(
        self,
        block: int,
        wanted: set[Score],
        module: nn.Module,
        args: tuple[Tensor, ...],
        output: Tensor | tuple[Tensor, ...],
    ) -> None:
        if self._items is None or self._run is None:
            return
        projected: Tensor = output[0] if isinstance(output, tuple) else output
        shape = self._serving.bound.tower(self._modality)
        projections = Projections(module, module, shape.heads, shape.heads, (shape.width // shape.heads) ** -0.5, True)
        for part in ("query", "key"):
            self._run.capture(block, part, projected, projections, wanted)
