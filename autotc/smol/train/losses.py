"""What is learned: what patches show, what is answered, and to go on with other texts as before."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autotc.smol.scenes import SIDE
from autotc.smol.train.data import Batch
from autotc.smol.vocabulary import COLORS, SHAPES, TASKS, TEXTURES, WORDS

KINDS = {"shape": SHAPES, "color": COLORS, "word": WORDS, "texture": TEXTURES}
"""Kinds of labels in their order; the first three have an index 0 for none."""
_WEIGHTS = {"shape": 1.0, "color": 1.0, "word": 1.0, "texture": 0.3}


class PatchHeads(nn.Module):
    """Names what a projected patch shows by its products with word embeddings, and its place by linear heads.

    Args:
        rows: kind of label -> embeddings of its words in the language model, centred, (classes, D).
        norm: length that projected patches are to have about: that of the word embeddings.
    """

    def __init__(self, rows: dict[str, Tensor], norm: float) -> None:
        super().__init__()
        width = next(iter(rows.values())).shape[1]
        self.length = norm
        self.scales = nn.ParameterDict({kind: nn.Parameter(torch.tensor(8.0)) for kind in rows})
        self.none = nn.ParameterDict({kind: nn.Parameter(torch.zeros(())) for kind in rows if kind != "texture"})
        for kind, embeddings in rows.items():
            self.register_buffer(f"{kind}_rows", F.normalize(embeddings, dim=1))
        self.row, self.column = nn.Linear(width, SIDE), nn.Linear(width, SIDE)
        self.seen = nn.Linear(width, len(SHAPES) + len(COLORS) + len(TEXTURES))

    def loss(self, patches: Tensor, summary: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy of all labels, and the share of patches that show something and are named right.

        Args:
            patches: projected, (P, N, D).
            summary: the class token, projected too, (P, D).
            labels: (P, N, 4).
        """
        flat, wanted = patches.float().flatten(0, 1), labels.flatten(0, 1)
        total = ((flat.norm(dim=1) / self.length - 1) ** 2).mean() * 0.1
        stats: dict[str, Tensor] = {}
        for i, kind in enumerate(KINDS):
            logits = self.scales[kind] * (flat @ self.get_buffer(f"{kind}_rows").T) / self.length
            target = wanted[:, i]
            weight = torch.ones_like(target, dtype=torch.float)
            if kind in self.none:
                logits = torch.cat([self.none[kind].expand(len(flat), 1), logits], 1)
                # Nearly all patches show none of a kind; half of the weight is theirs.
                some = (target > 0).float()
                weight = some / some.sum().clamp(min=1) + (1 - some) / (1 - some).sum().clamp(min=1)
                stats[f"patch.{kind}"] = ((logits.argmax(1) == target) * some).sum() / some.sum().clamp(min=1)
            losses = F.cross_entropy(logits, target, reduction="none")
            total = total + _WEIGHTS[kind] * (losses * weight).sum() / weight.sum()
        place = torch.arange(SIDE**2, device=flat.device).repeat(len(flat) // SIDE**2)
        total = total + 0.2 * F.cross_entropy(self.row(flat), place // SIDE)
        total = total + 0.2 * F.cross_entropy(self.column(flat), place % SIDE)
        return total + 0.3 * self._summary_loss(summary, labels), stats

    def _summary_loss(self, summary: Tensor, labels: Tensor) -> Tensor:
        """What the class token says of the whole picture: which shapes, colours and textures are in it."""
        pictures = labels.view(len(summary), -1, 4)
        sizes = (len(SHAPES), len(COLORS), len(TEXTURES))
        present = [
            F.one_hot(pictures[..., i] + (i == 3), size + 1).amax(1)[:, 1:]
            for i, size in zip((0, 1, 3), sizes, strict=True)
        ]
        return F.binary_cross_entropy_with_logits(self.seen(summary.float()), torch.cat(present, 1).float())


def answer_loss(logits: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean cross-entropy of the tokens of answers, each kind of question with equal weight; accuracies of tokens.

    Args:
        logits: at the places that have a target, in their order, (T, V).
        batch: the conversations.
    """
    at = batch.targets >= 0
    targets, tasks = batch.targets[at], batch.tasks[at]
    losses = F.cross_entropy(logits.float(), targets, reduction="none")
    right = (logits.argmax(1) == targets).float()
    chosen = F.one_hot(tasks, len(TASKS)).float()
    number = chosen.sum(0)
    means = (losses @ chosen) / number.clamp(min=1)
    shares = (right @ chosen) / number.clamp(min=1)
    present = (number > 0).float()
    return (means * present).sum() / present.sum(), {task: shares[i] for i, task in enumerate(TASKS) if number[i] > 0}


def keeping_loss(now: Tensor, before: Tensor) -> Tensor:
    """Kullback-Leibler divergence of next tokens from what the language model said before, a mean over places.

    Args:
        now, before: logits, (..., V).
    """
    width = now.shape[-1]
    return F.kl_div(
        now.float().log_softmax(-1).view(-1, width),
        before.float().log_softmax(-1).view(-1, width),
        reduction="batchmean",
        log_target=True,
    )
