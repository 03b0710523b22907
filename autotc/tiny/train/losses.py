"""What each part of the model learns: dense labels of units, auxiliary labels in the middle layers, answers."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Qwen2_5OmniThinkerForConditionalGeneration

from autotc.tiny.config import COLORS, VOCABULARY
from autotc.tiny.scenes import AudioScene, Scene, TalkingScene
from autotc.tiny.train.inputs import symbols
from autotc.tiny.train.packing import Packed

AUX_LAYERS = (2, 3)
"""Hidden states that the auxiliary heads read: places must be known before the layer that looks for the asked digit."""


class AuxiliaryHeads(nn.Module):
    """Classifiers on the decoder's middle layers: row, column and ordinal of each labelled unit."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.row, self.col, self.ordinal = nn.Linear(width, 8), nn.Linear(width, 8), nn.Linear(width, 6)
        self.match = nn.Linear(width, len(COLORS) + 1)

    def match_loss(self, hidden: Tensor, packed: Packed, units: int) -> Tensor:
        """Cross-entropy of the shown colour of the digit that is said (0: not shown), on the units that say it.

        Args:
            hidden: (B, N, D).
            packed: scenes of pictures with speech.
            units: units of the picture; later ones are sound.
        """
        digit, color = packed.labels[..., 0], packed.labels[..., 1]
        sound = packed.units >= units
        same = (digit[:, :, None] == digit[:, None, :]) & ~sound[:, None, :] & (digit > 0)[:, :, None]
        target = (same * color[:, None, :]).max(2).values
        pick = sound & (digit > 0)
        return F.cross_entropy(self.match(self.norm(hidden[pick])), target[pick])

    def loss(self, hidden: Tensor, packed: Packed, grid: tuple[int, int, int] | None) -> Tensor:
        """Mean cross-entropy over labelled units.

        Args:
            hidden: (B, N, D).
            packed: the scenes.
            grid: (t, y, x) of the units that lie in a picture (None: there is none).
        """
        shown = packed.labels[..., 0] > 0
        if not bool(shown.any()):
            return hidden.sum() * 0
        h = self.norm(hidden[shown])
        total = hidden.sum() * 0
        if grid is not None:
            units = packed.units[shown]
            inside = units < grid[0] * grid[1] * grid[2]
            row, col = units // grid[2] % grid[1], units % grid[2]
            if bool(inside.any()):
                total = total + F.cross_entropy(self.row(h)[inside], row[inside])
                total = total + F.cross_entropy(self.col(h)[inside], col[inside])
        ordinal = packed.labels[..., 4][shown]
        if bool((ordinal > 0).any()):
            total = total + F.cross_entropy(self.ordinal(h)[ordinal > 0], ordinal[ordinal > 0])
        return total


def tower_loss(
    output: Tensor, labels: Tensor, table: dict[str, Tensor], audio: bool
) -> tuple[Tensor, dict[str, float]]:
    """Dense loss of tower outputs (U, D) against unit labels (U, 5), and its accuracies."""
    target = symbols(table, labels, torch.full(labels.shape[:1], audio))
    shown = labels[:, 0] > 0
    weight = torch.where(shown, 1.0, 0.1)
    scale = 1 / table["digit"][1:].pow(2).sum(1).mean()
    loss = (weight * (output - target).pow(2).sum(1)).sum() * scale / weight.sum()
    stats = {}
    for name, column in {"digit": 0, "loud": 3}.items() if audio else {"digit": 0, "color": 1, "motion": 2}.items():
        logits = _logits(output, table, name, audio, scale)
        classes = labels[:, column]
        pick = {"digit": torch.ones_like(shown), "loud": shown}.get(name, classes > 0)
        if not bool(pick.any()):
            continue
        losses = F.cross_entropy(logits[pick], classes[pick], reduction="none")
        w = weight[pick]
        loss = loss + (losses * w).sum() / w.sum()
        counted = shown & pick
        stats[name] = float((logits[counted].argmax(1) == classes[counted]).float().mean())
        if name == "digit":
            stats["nothing"] = float((logits[~shown].argmax(1) == 0).float().mean())
    return loss, stats


def _logits(output: Tensor, table: dict[str, Tensor], name: str, audio: bool, scale: Tensor) -> Tensor:
    """Logits (U, classes) of one kind of label: scaled products with the table's rows."""
    if name == "loud":
        return torch.stack([torch.zeros(len(output)), (output @ table["loud"][1]) * scale - 0.5], 1) * 8
    rows = table[name].clone()
    if name == "digit":
        rows[0] = table["nothing"][int(audio)]
    return output @ rows.T * scale * 8


def answer_loss(logits: Tensor, packed: Packed, task_names: list[str]) -> tuple[Tensor, dict[str, float]]:
    """Mean cross-entropy over answer tokens, each task with equal weight, and accuracy per task."""
    at = packed.targets >= 0
    losses = F.cross_entropy(logits[at], packed.targets[at], reduction="none")
    right = (logits[at].argmax(1) == packed.targets[at]).float()
    content = packed.targets[at] != VOCABULARY["<|end|>"]
    tasks, loss, stats = packed.tasks[at], losses.sum() * 0, {}
    present = torch.unique(tasks).tolist()
    for task in present:
        of_task = tasks == task
        loss = loss + losses[of_task].mean() / len(present)
        stats[task_names[task]] = float(right[of_task & content].mean())
    return loss, stats


def decoder_losses(
    model: Qwen2_5OmniThinkerForConditionalGeneration,
    heads: AuxiliaryHeads,
    features: Tensor,
    packed: Packed,
    scene: Scene,
    task_names: list[str],
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Run the language model on packed scenes; returns answer loss, auxiliary loss and accuracies.

    Args:
        model: the model; its towers do not run.
        heads: classifiers of the middle layers.
        features: tower outputs, or what stands for them, of the kept units, (B, N, D).
        packed: the scenes.
        scene: one of them, for their modality and grid.
        task_names: names of the indices in ``packed.tasks``.
    """
    embeds = model.get_input_embeddings()(packed.ids)
    places = packed.places[..., None].expand(-1, -1, features.shape[-1])
    embeds = embeds.scatter(1, places, features)
    output = model.model.language_model(
        inputs_embeds=embeds,
        position_ids=packed.positions,
        attention_mask=packed.mask,
        output_hidden_states=True,
        use_cache=False,
    )
    middles = [output.hidden_states[layer].gather(1, places) for layer in AUX_LAYERS]
    if isinstance(scene, TalkingScene):
        grid: tuple[int, int, int] | None = scene.image.grid
    else:
        grid = None if isinstance(scene, AudioScene) else scene.grid
    at = packed.targets >= 0
    logits = torch.zeros(*at.shape, model.vocab_size)
    logits[at] = model.lm_head(output.last_hidden_state[at])
    loss, stats = answer_loss(logits, packed, task_names)
    aux = torch.stack([heads.loss(middle, packed, grid) for middle in middles]).mean()
    if isinstance(scene, TalkingScene):
        aux = aux + heads.match_loss(middles[-1], packed, int(np.prod(scene.image.grid)))
    return loss, aux, stats
