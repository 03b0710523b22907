"""Train `tiny-omni` from scratch: ``python -m autotc.tiny.train --out FOLDER``.

Eight stages; towers and decoder do not depend on each other and may run side by side (``--stage``):

1. ``vision``, ``crowded``, ``recrowded`` and ``audio``: each tower learns to put the sum of fixed word embeddings (its
   digit, its colour, ...) on each output unit, by dense labels: cross-entropy against the table of embeddings plus
   squared error. The second and third go on from the one before with more digits in a picture.
2. ``decoder``: the language model learns all tasks on *symbolic scenes*, in which those sums replace the tower's output
   and most of the empty units are left out. All questions of a scene are packed behind it and do not see each other.
   Auxiliary heads on the middle layers name row, column and ordinal of each labelled unit; they are thrown away.
   ``matching`` and then ``chorus`` go on from it with more of the tasks that come late, and a head that names the
   colour of the digit that is being said; in a chorus several are.
3. ``joint``: everything together on real inputs, at a low rate.

Every stage is seeded, writes a checkpoint every five minutes and continues from it when run again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Qwen2_5OmniThinkerForConditionalGeneration

from autotc.tiny.config import COLORS, MOTIONS, VOCABULARY, build_model, build_processor
from autotc.tiny.data import (
    SCENES,
    AudioScene,
    ChorusScene,
    ImageScene,
    Question,
    Scene,
    TalkingScene,
    VideoScene,
    load_sources,
)

AUX_LAYERS = (2, 3)
"""Hidden states that the auxiliary heads read: places must be known before the layer that looks for the asked digit."""
STAGES = ("vision", "crowded", "recrowded", "audio", "decoder", "matching", "chorus", "joint")
BLANK = 4
"""Share of the empty units that symbolic scenes keep: one in BLANK."""


@dataclass
class Packed:
    """A batch of scenes of one modality with all their questions packed behind them.

    Attributes:
        units: kept unit indices of each scene, (B, N) long.
        labels: their labels, (B, N, 5) long.
        ids: token ids of prefix and questions, (B, L) long; unit places hold a placeholder id.
        places: column of each unit, (N,) long.
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


TASKS: list[str] = []


def symbol_table(model: Qwen2_5OmniThinkerForConditionalGeneration) -> dict[str, Tensor]:
    """Fixed embeddings of what a unit can show: rows of the word embedding at seed 0, and two for "nothing"."""
    words = model.get_input_embeddings().weight.detach()
    row = {word: words[i] for word, i in VOCABULARY.items()}
    zero = torch.zeros_like(words[0])
    generator = torch.Generator().manual_seed(7)
    nothing = torch.randn(2, words.shape[1], generator=generator) * words.std()
    return {
        "digit": torch.stack([zero, *(row[str(d)] for d in range(10))]).clone(),
        "color": torch.stack([zero, *(row[c] for c in COLORS)]).clone(),
        "motion": torch.stack([zero, *(row[m] for m in MOTIONS)]).clone(),
        "loud": torch.stack([zero, row["loud"]]).clone(),
        "word": row["word"].clone(),
        "nothing": nothing,
    }


def symbols(table: dict[str, Tensor], labels: Tensor, audio: Tensor) -> Tensor:
    """Embeddings (..., D) of unit labels (..., 5); ``audio`` (...) bool says which units are sound."""
    digit, color, motion, loud = (labels[..., i] for i in range(4))
    out = table["digit"][digit] + table["color"][color] + table["motion"][motion] + table["loud"][loud]
    empty = (digit == 0)[..., None]
    sound = audio[..., None]
    blank = torch.where(sound, table["nothing"][1], table["nothing"][0])
    return torch.where(empty, blank, out + torch.where(sound, table["word"], torch.zeros_like(blank)))


class Layouts:
    """M-RoPE positions of each modality's prefix, taken once from the model's own ``get_rope_index``."""

    def __init__(self, model: Qwen2_5OmniThinkerForConditionalGeneration) -> None:
        self._model = model
        self._cache: dict[str, tuple[Tensor, Tensor]] = {}

    def prefix(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """Token ids (P,) and positions (3, P) of user mark, media and their delimiters."""
        if scene.modality not in self._cache:
            v = VOCABULARY
            parts = [scene.image, scene.audio] if isinstance(scene, TalkingScene) else [scene]
            ids = [v["<|user|>"]]
            grids: dict[str, Any] = {}
            for part in parts:
                n = int(np.prod(part.grid))
                if isinstance(part, AudioScene):
                    ids += [v["<|audio_bos|>"], *[v["<|AUDIO|>"]] * n, v["<|audio_eos|>"]]
                    grids["audio_seqlens"] = torch.tensor([4 * n])
                else:
                    kind = "IMAGE" if isinstance(part, ImageScene) else "VIDEO"
                    ids += [v["<|vision_bos|>"], *[v[f"<|{kind}|>"]] * n, v["<|vision_eos|>"]]
                    t, h, w = part.grid
                    grids[f"{kind.lower()}_grid_thw"] = torch.tensor([[t, 2 * h, 2 * w]])
                    if kind == "VIDEO":
                        grids["second_per_grids"] = torch.tensor([1.0])
            tokens = torch.tensor([ids])
            ones = torch.ones_like(tokens)
            if grids.keys() == {"audio_seqlens"}:
                positions = torch.arange(len(ids)).expand(3, 1, -1)
            else:
                positions, _ = self._model.model.get_rope_index(tokens, attention_mask=ones, **grids)
            self._cache[scene.modality] = (tokens[0], positions[:, 0])
        return self._cache[scene.modality]


def pack(
    scenes: list[Scene], layouts: Layouts, rng: np.random.Generator, *, blanks: int | None, most: int = 7
) -> Packed:
    """Pack scenes of one modality with up to ``most`` questions each; ``blanks`` empty units are kept (None: all)."""
    ids, positions = layouts.prefix(scenes[0])
    media = (ids == VOCABULARY["<|IMAGE|>"]) | (ids == VOCABULARY["<|VIDEO|>"]) | (ids == VOCABULARY["<|AUDIO|>"])
    where = media.nonzero()[:, 0]
    labels = np.stack([scene.labels() for scene in scenes])
    total = labels.shape[1]
    if blanks is None:
        chosen = np.tile(np.arange(total), (len(scenes), 1))
    else:
        shown = labels[..., 0] > 0
        size = min(total, int(shown.sum(1).max()) + blanks)
        rank = rng.random(shown.shape) - shown
        chosen = np.sort(np.argpartition(rank, size - 1, axis=1)[:, :size], axis=1)
    n = chosen.shape[1]
    units = torch.from_numpy(chosen)
    # The prefix keeps its delimiters; units left out leave a gap in the positions, as compression does.
    fixed = (~media).nonzero()[:, 0]
    columns = torch.cat([fixed.expand(len(scenes), -1), where[units]], 1).sort(1).values
    prefix_ids = ids[columns]
    length = columns.shape[1]
    asked: list[list[Question]] = []
    for scene in scenes:
        questions = scene.questions()
        order = rng.permutation(len(questions))[:most]
        asked.append([questions[i] for i in order])
    rows = [
        [([VOCABULARY[w] for w in q.query.split()], [VOCABULARY[w] for w in q.answer.split()], q) for q in qs]
        for qs in asked
    ]
    longest = max(sum(len(a) + len(b) + 1 for a, b, _ in row) for row in rows)
    b, size = len(scenes), length + longest
    out_ids = torch.zeros(b, size, dtype=torch.long)
    out_ids[:, :length] = prefix_ids
    pos = torch.zeros(3, b, size, dtype=torch.long)
    pos[:, :, :length] = positions[:, columns]
    base = int(positions.max()) + 1
    targets = torch.full((b, size), -100)
    tasks = torch.full((b, size), -1)
    segment = torch.zeros(b, size, dtype=torch.long)
    for i, row in enumerate(rows):
        at = length
        for k, (query, answer, question) in enumerate(row, start=1):
            body = [*query, VOCABULARY["<|assistant|>"], *answer]
            end = at + len(body)
            out_ids[i, at:end] = torch.tensor(body)
            pos[:, i, at:end] = base + torch.arange(len(body))
            segment[i, at:end] = k
            name = f"{scenes[0].modality}.{question.task}"
            if name not in TASKS:
                TASKS.append(name)
            first = at + len(query)
            targets[i, first:end] = torch.tensor([*answer, VOCABULARY["<|end|>"]])
            tasks[i, first:end] = TASKS.index(name)
            at = end
        segment[i, at:] = 99
    column = torch.arange(size)
    causal = column[:, None] >= column[None, :]
    same = segment[:, :, None] == segment[:, None, :]
    seen = causal & (same | (segment == 0)[:, None, :])
    mask = torch.where(seen[:, None], 0.0, torch.finfo(torch.float32).min)
    media_ids = torch.zeros(len(VOCABULARY), dtype=torch.bool)
    media_ids[[VOCABULARY[k] for k in ("<|IMAGE|>", "<|VIDEO|>", "<|AUDIO|>")]] = True
    places = media_ids[out_ids].nonzero()[:, 1].view(b, n)
    picked = torch.from_numpy(np.take_along_axis(labels, chosen[..., None], 1))
    return Packed(units, picked, out_ids, places, pos, mask, targets, tasks)


class Heads(nn.Module):
    """Auxiliary classifiers on the decoder's middle layer: row, column and ordinal of each labelled unit."""

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
        """Mean cross-entropy over labelled units; ``hidden`` (B, N, D)."""
        shown = packed.labels[..., 0] > 0
        if not bool(shown.any()):
            return hidden.sum() * 0
        h = self.norm(hidden[shown])
        out = hidden.sum() * 0
        if grid is not None:
            units = packed.units[shown]
            inside = units < grid[0] * grid[1] * grid[2]
            row, col = units // grid[2] % grid[1], units % grid[2]
            if bool(inside.any()):
                out = out + F.cross_entropy(self.row(h)[inside], row[inside])
                out = out + F.cross_entropy(self.col(h)[inside], col[inside])
        ordinal = packed.labels[..., 4][shown]
        if bool((ordinal > 0).any()):
            out = out + F.cross_entropy(self.ordinal(h)[ordinal > 0], ordinal[ordinal > 0])
        return out


def patches(frames: Tensor) -> Tensor:
    """Pixels (B, T, H, W, 3) in [0, 255] as the image processor lays them out, (B * patches, 384)."""
    b, t, h, w, c = frames.shape
    x = (frames.float() / 255 - 0.5) / 0.5
    x = x.view(b, t // 2, 2, h // 16, 2, 8, w // 16, 2, 8, c)
    return x.permute(0, 1, 3, 6, 4, 7, 9, 2, 5, 8).reshape(-1, c * 2 * 64)


def vision_inputs(scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    """Patches and patch grids of rendered image or video scenes."""
    drawn = []
    for scene in scenes:
        if isinstance(scene, ImageScene):
            drawn.append(np.repeat(scene.render()[None], 2, 0))
        elif isinstance(scene, VideoScene):
            drawn.append(scene.render())
    t, h, w = scenes[0].grid
    return patches(torch.from_numpy(np.stack(drawn))), torch.tensor([[t, 2 * h, 2 * w]] * len(scenes))


class Mel:
    """Log-mel spectrograms of 3-second clips, as WhisperFeatureExtractor computes them, in a batch."""

    def __init__(self) -> None:
        extractor = build_processor().feature_extractor
        self.filters = torch.from_numpy(np.asarray(extractor.mel_filters)).float()
        self.pad = int(extractor.n_samples)

    def __call__(self, scenes: list[Any]) -> Tensor:
        """(B, 64, 300) float."""
        waves = torch.from_numpy(np.stack([s.render() for s in scenes]))
        size = waves.shape[1]
        waves = F.pad(waves, (0, 800))
        spectrum = torch.stft(waves, 400, 160, window=torch.hann_window(400), return_complex=True)
        power = spectrum[..., : size // 160].abs() ** 2
        log = torch.clamp(self.filters.T @ power, min=1e-10).log10()
        log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0)
        return (log + 4.0) / 4.0


def tower_loss(out: Tensor, labels: Tensor, table: dict[str, Tensor], audio: bool) -> tuple[Tensor, dict[str, float]]:
    """Dense loss of tower outputs (U, D) against unit labels (U, 5), and its accuracies."""
    want = symbols(table, labels, torch.full(labels.shape[:1], audio))
    shown = labels[:, 0] > 0
    weight = torch.where(shown, 1.0, 0.1)
    scale = 1 / table["digit"][1:].pow(2).sum(1).mean()
    loss = (weight * (out - want).pow(2).sum(1)).sum() * scale / weight.sum()
    parts = {"digit": 0, "color": 1, "motion": 2} if not audio else {"digit": 0, "loud": 3}
    stats = {}
    for name, column in parts.items():
        if name == "loud":
            logits = torch.stack([torch.zeros(len(out)), (out @ table["loud"][1]) * scale - 0.5], 1) * 8
            pick, target = shown, labels[:, 3]
        else:
            rows = table[name].clone()
            if name == "digit":
                rows[0] = table["nothing"][int(audio)]
            logits = out @ rows.T * scale * 8
            target = labels[:, column]
            pick = torch.ones_like(shown) if name == "digit" else target > 0
        if not bool(pick.any()):
            continue
        losses = F.cross_entropy(logits[pick], target[pick], reduction="none")
        w = weight[pick]
        loss = loss + (losses * w).sum() / w.sum()
        right = shown & pick
        stats[name] = float((logits[right].argmax(1) == target[right]).float().mean())
        if name == "digit":
            stats["nothing"] = float((logits[~shown].argmax(1) == 0).float().mean())
    return loss, stats


class Clock:
    """Learning-rate schedule, log lines and checkpoints of one stage."""

    def __init__(self, out: Path, stage: str, steps: int, peak: float, horizon: int | None = None) -> None:
        self.path, self.stage, self.steps, self.peak = out / f"{stage}.pt", stage, steps, peak
        self.horizon = horizon or steps
        self.log = (out / f"{stage}.log").open("a")
        self.started = self.saved = time.monotonic()
        self.spent = 0.0

    def rate(self, step: int) -> float:
        """Linear warm-up over 3%, then cosine to 2% of the peak."""
        warm = max(1, int(0.03 * self.horizon))
        if step < warm:
            return self.peak * (step + 1) / warm
        part = (step - warm) / max(1, self.horizon - warm)
        return self.peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * part)))

    def resume(self, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> int:
        """Load the checkpoint if there is one; returns the next step."""
        if not self.path.exists():
            return 0
        state = torch.load(self.path, weights_only=True)
        for name, module in modules.items():
            module.load_state_dict(state[name])
        optimizer.load_state_dict(state["optimizer"])
        self.spent = state["seconds"]
        return int(state["step"])

    def save(self, step: int, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
        """Write the checkpoint atomically."""
        state: dict[str, Any] = {name: module.state_dict() for name, module in modules.items()}
        seconds = self.spent + time.monotonic() - self.started
        state |= {"optimizer": optimizer.state_dict(), "step": step, "seconds": seconds}
        torch.save(state, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)
        self.saved = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether a checkpoint is due: every five minutes and at the end."""
        return time.monotonic() - self.saved > 300 or step == self.steps

    def say(self, step: int, **values: float) -> None:
        """One log line."""
        seconds = self.spent + time.monotonic() - self.started
        line = {"step": step, "seconds": round(seconds), **{k: round(v, 4) for k, v in values.items()}}
        print(json.dumps(line), file=self.log, flush=True)
        print(self.stage, json.dumps(line), flush=True)


def _steps(clock: Clock, modules: dict[str, nn.Module], groups: list[dict[str, Any]], seed: int) -> Iterator[Any]:
    """Drive a stage: yields (step, rng, backward) and saves when due."""
    optimizer = torch.optim.AdamW(groups, lr=clock.peak, betas=(0.9, 0.98), weight_decay=0.02)
    scales = [group.get("scale", 1.0) for group in optimizer.param_groups]
    params = [p for group in optimizer.param_groups for p in group["params"]]

    def backward(loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()

    for step in range(clock.resume(modules, optimizer), clock.steps):
        for group, scale in zip(optimizer.param_groups, scales, strict=True):
            group["lr"] = clock.rate(step) * scale
        yield step, np.random.default_rng([seed, step]), backward
        if clock.due(step + 1):
            clock.save(step + 1, modules, optimizer)


def train_tower(model: Qwen2_5OmniThinkerForConditionalGeneration, out: Path, stage: str, steps: int) -> None:
    """Stages of the towers."""
    table = symbol_table(model)
    sources = load_sources("train")
    tower = model.model.audio_tower if stage == "audio" else model.model.visual
    mel = Mel() if stage == "audio" else None
    crowded = stage in _AFTER
    if crowded:
        before = _AFTER[stage]
        tower.load_state_dict(torch.load(out / f"{before}.pt", weights_only=True)[before])
    clock = Clock(out, stage, steps, {"crowded": 2e-3, "recrowded": 1.5e-3}.get(stage, 3e-3))
    seed = {"vision": 11, "audio": 12, "crowded": 15, "recrowded": 17}[stage]
    for step, rng, backward in _steps(clock, {stage: tower}, [{"params": list(tower.parameters())}], seed):
        if mel is not None:
            heard: list[Scene] = [AudioScene(rng, sources, counts=(4, 5)) for _ in range(24)]
            features = mel(heard)
            flat = features.permute(1, 0, 2).reshape(features.shape[1], -1)
            hidden = tower(flat, feature_lens=torch.full((len(heard),), features.shape[2])).last_hidden_state
            labels = np.concatenate([s.labels() for s in heard])
        else:
            seen: list[Scene]
            if step % 2 == 0:
                count = (6,) if crowded else (4,)
                seen = [ImageScene(rng, sources, counts=count) for _ in range(16)]
            else:
                seen = [VideoScene(rng, sources, counts=(5,) if crowded else (3,)) for _ in range(16)]
            pixels, grid = vision_inputs(seen)
            hidden = tower(pixels, grid_thw=grid).pooler_output
            labels = np.concatenate([s.labels() for s in seen])
        loss, stats = tower_loss(hidden, torch.from_numpy(labels), table, mel is not None)
        backward(loss)
        if step % 50 < 2:
            clock.say(step, loss=float(loss.detach()), **stats)


def answer_loss(logits: Tensor, packed: Packed) -> tuple[Tensor, dict[str, float]]:
    """Mean cross-entropy over answer tokens, each task with equal weight, and accuracy per task."""
    at = packed.targets >= 0
    losses = F.cross_entropy(logits[at], packed.targets[at], reduction="none")
    right = (logits[at].argmax(1) == packed.targets[at]).float()
    content = packed.targets[at] != VOCABULARY["<|end|>"]
    names, loss, stats = packed.tasks[at], losses.sum() * 0, {}
    present = torch.unique(names).tolist()
    for task in present:
        mine = names == task
        loss = loss + losses[mine].mean() / len(present)
        stats[TASKS[task]] = float(right[mine & content].mean())
    return loss, stats


class Tracker:
    """Running mean of the tasks' accuracies between log lines."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, stats: dict[str, float]) -> None:
        """Add one batch's values."""
        for name, value in stats.items():
            self._sums.setdefault(name, []).append(value)

    def take(self) -> dict[str, float]:
        """Means since the last call."""
        out = {name: float(np.mean(values)) for name, values in sorted(self._sums.items())}
        self._sums = {}
        return out


def decode(
    model: Qwen2_5OmniThinkerForConditionalGeneration, heads: Heads, features: Tensor, packed: Packed, scene: Scene
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Run the language model on packed scenes; returns answer loss, auxiliary loss and accuracies."""
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
    loss, stats = answer_loss(logits, packed)
    aux = torch.stack([heads.loss(middle, packed, grid) for middle in middles]).mean()
    if isinstance(scene, TalkingScene):
        aux = aux + heads.match_loss(middles[-1], packed, int(np.prod(scene.image.grid)))
    return loss, aux, stats


MIX = ("image", "video", "audio", "image", "video", "audio", "image+audio")
_AFTER = {"crowded": "vision", "recrowded": "crowded", "matching": "decoder", "chorus": "matching"}
"""Stage -> the stage it goes on from."""
CHORUS = ("chorus", "image", "image", "image+audio", "video", "image", "audio")
JOINT = ("image", "video", "image", "audio", "video", "image+audio", "image")
LATE = ("image", "image+audio", "video", "image+audio", "image", "video", "audio")
"""Modalities in turn, while the tasks that come late are still to come."""


def train_decoder(
    model: Qwen2_5OmniThinkerForConditionalGeneration, heads: Heads, out: Path, stage: str, steps: int, batch: int
) -> None:
    """Stages of the decoder: all tasks on symbolic scenes; the word embeddings stay as they are."""
    table = symbol_table(model)
    sources, layouts = load_sources("train"), Layouts(model)
    language = model.model.language_model
    language.embed_tokens.weight.requires_grad_(False)
    params = [p for p in [*language.parameters(), *model.lm_head.parameters()] if p.requires_grad]
    modules: dict[str, nn.Module] = {"language": language, "head": model.lm_head, "heads": heads}
    late = stage in _AFTER
    if late:
        state = torch.load(out / f"{_AFTER[stage]}.pt", weights_only=True)
        for name, module in modules.items():
            module.load_state_dict(state[name], strict=name != "heads")
    clock = Clock(out, stage, steps, 1.2e-3 if late else 1.5e-3, None if late else 3800)
    mix = {"decoder": MIX, "matching": LATE, "chorus": CHORUS}[stage]
    seed = {"decoder": 13, "matching": 16, "chorus": 18}[stage]
    tracker = Tracker()
    std = float(language.embed_tokens.weight.std())
    for step, rng, backward in _steps(clock, modules, [{"params": [*params, *heads.parameters()]}], seed):
        kind = mix[step % len(mix)]
        scenes = [(ChorusScene if kind == "chorus" else SCENES[kind])(rng, sources) for _ in range(batch)]
        dense = kind == "chorus"
        packed = pack(
            scenes, layouts, rng, blanks=10 if dense or rng.random() < 0.85 else None, most=2 if dense else 7
        )  # fmt: skip
        sound = torch.zeros(packed.units.shape, dtype=torch.bool)
        if kind == "audio":
            sound[:] = True
        elif kind in ("image+audio", "chorus"):
            sound = packed.units >= 64
        generator = torch.Generator().manual_seed(step)
        features = symbols(table, packed.labels, sound)
        features = features + 0.3 * std * torch.randn(features.shape, generator=generator)
        loss, aux, stats = decode(model, heads, features, packed, scenes[0])
        backward(loss + 0.5 * aux)
        tracker.add(stats | {f"aux.{kind}": float(aux.detach()), "loss": float(loss.detach())})
        if (step + 1) % 70 == 0:
            clock.say(step + 1, **tracker.take())


def real_features(
    model: Qwen2_5OmniThinkerForConditionalGeneration, scenes: list[Any], mel: Mel
) -> tuple[Tensor, Tensor]:
    """Tower outputs (B, N, D) of rendered scenes, and which units are sound (B, N)."""
    parts: list[tuple[bool, list[Any]]]
    if isinstance(scenes[0], TalkingScene):
        parts = [(False, [s.image for s in scenes]), (True, [s.audio for s in scenes])]
    else:
        parts = [(isinstance(scenes[0], AudioScene), scenes)]
    outs, sounds = [], []
    for is_audio, items in parts:
        if is_audio:
            features = mel(items)
            flat = features.permute(1, 0, 2).reshape(features.shape[1], -1)
            lens = torch.full((len(items),), features.shape[2])
            hidden = model.model.audio_tower(flat, feature_lens=lens).last_hidden_state
        else:
            pixels, grid = vision_inputs(items)
            hidden = model.model.visual(pixels, grid_thw=grid).pooler_output
        outs.append(hidden.view(len(items), -1, hidden.shape[-1]))
        sounds.append(torch.full(outs[-1].shape[:2], is_audio))
    return torch.cat(outs, 1), torch.cat(sounds, 1)


def train_joint(
    model: Qwen2_5OmniThinkerForConditionalGeneration, heads: Heads, out: Path, steps: int, batch: int, peak: float
) -> None:
    """Stage ``joint``: real inputs through towers and decoder, dense and auxiliary losses kept at a low weight."""
    table = symbol_table(build_model())
    sources, layouts, mel = load_sources("train"), Layouts(model), Mel()
    model.requires_grad_(True)
    clock = Clock(out, "joint", steps, peak)
    tracker = Tracker()
    groups = [{"params": [*model.parameters(), *heads.parameters()]}]
    for step, rng, backward in _steps(clock, {"model": model, "heads": heads}, groups, 14):
        kind = JOINT[step % len(JOINT)]
        scenes = [SCENES[kind](rng, sources) for _ in range(batch)]
        features, sound = real_features(model, scenes, mel)
        packed = pack(scenes, layouts, rng, blanks=None)
        loss, aux, stats = decode(model, heads, features, packed, scenes[0])
        dense = loss.detach() * 0
        for is_audio in (False, True):
            mine = sound == is_audio
            if bool(mine.any()):
                part, tower_stats = tower_loss(features[mine], packed.labels[mine], table, is_audio)
                dense = dense + part
                stats |= {f"dense.{kind}.{name}": value for name, value in tower_stats.items()}
        backward(loss + 0.2 * aux + 0.4 * dense)
        tracker.add(stats | {"loss": float(loss.detach())})
        if (step + 1) % 70 == 0:
            clock.say(step + 1, **tracker.take())


def assemble(model: Qwen2_5OmniThinkerForConditionalGeneration, heads: Heads, out: Path) -> None:
    """Put the weights of the first three stages together."""
    parts: dict[str, dict[str, nn.Module]] = {
        "recrowded": {"recrowded": model.model.visual},
        "audio": {"audio": model.model.audio_tower},
        "chorus": {"language": model.model.language_model, "head": model.lm_head, "heads": heads},
    }
    for stage, modules in parts.items():
        state = torch.load(out / f"{stage}.pt", weights_only=True)
        for name, module in modules.items():
            module.load_state_dict(state[name])


def export(model: Qwen2_5OmniThinkerForConditionalGeneration, folder: Path) -> None:
    """Write the checkpoint, tokenizer and processors in the hub's layout."""
    model.requires_grad_(True)
    model.save_pretrained(folder)
    build_processor().save_pretrained(folder)


def main() -> None:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(prog="python -m autotc.tiny.train", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints, logs and the finished model")
    parser.add_argument("--stage", choices=[*STAGES, "export"], action="append", help="run only these stages")
    parser.add_argument("--steps", type=int, help="steps of the stage (default: the recipe's)")
    parser.add_argument("--batch", type=int, default=16, help="scenes a step of the decoder and joint stages")
    parser.add_argument("--rate", type=float, default=5e-4, help="peak learning rate of the joint stage")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    defaults = {
        "vision": 2200,
        "crowded": 2600,
        "recrowded": 900,
        "audio": 900,
        "decoder": 2100,
        "matching": 1300,
        "chorus": 1200,
        "joint": 1300,
    }
    for stage in args.stage or [*STAGES, "export"]:
        model = build_model()
        model.train()
        torch.manual_seed(1)
        heads = Heads(model.config.text_config.hidden_size)
        steps = args.steps or defaults.get(stage, 0)
        if stage in ("vision", "crowded", "recrowded", "audio"):
            train_tower(model, args.out, stage, steps)
        elif stage in ("decoder", "matching", "chorus"):
            train_decoder(model, heads, args.out, stage, steps, args.batch)
        elif stage == "joint":
            assemble(model, heads, args.out)
            train_joint(model, heads, args.out, steps, args.batch, args.rate)
        else:
            model.load_state_dict(torch.load(args.out / "joint.pt", weights_only=True)["model"])
            export(model, args.out / "model")


if __name__ == "__main__":
    main()
