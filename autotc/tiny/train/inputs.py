"""Scenes as the model's parts take them: patches, spectrograms, and sums of embeddings in place of tower outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen2_5OmniThinkerForConditionalGeneration

from autotc.tiny.config import COLORS, MOTIONS, VOCABULARY, build_processor
from autotc.tiny.scenes import AudioScene, ImageScene, Scene, TalkingScene, VideoScene


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
    shown = table["digit"][digit] + table["color"][color] + table["motion"][motion] + table["loud"][loud]
    empty = (digit == 0)[..., None]
    sound = audio[..., None]
    blank = torch.where(sound, table["nothing"][1], table["nothing"][0])
    return torch.where(empty, blank, shown + torch.where(sound, table["word"], torch.zeros_like(blank)))


def patches(frames: Tensor) -> Tensor:
    """Pixels (B, T, H, W, 3) in [0, 255] as the image processor lays them out, (B * patches, 384)."""
    b, t, h, w, c = frames.shape
    x = (frames.float() / 255 - 0.5) / 0.5
    x = x.view(b, t // 2, 2, h // 16, 2, 8, w // 16, 2, 8, c)
    return x.permute(0, 1, 3, 6, 4, 7, 9, 2, 5, 8).reshape(-1, c * 2 * 64)


def vision_inputs(scenes: Sequence[Scene]) -> tuple[Tensor, Tensor]:
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

    def __call__(self, scenes: Sequence[AudioScene]) -> Tensor:
        """(B, 64, 300) float."""
        waves = torch.from_numpy(np.stack([scene.render() for scene in scenes]))
        size = waves.shape[1]
        waves = F.pad(waves, (0, 800))
        spectrum = torch.stft(waves, 400, 160, window=torch.hann_window(400), return_complex=True)
        power = spectrum[..., : size // 160].abs() ** 2
        log = torch.clamp(self.filters.T @ power, min=1e-10).log10()
        log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0)
        return (log + 4.0) / 4.0


def audio_outputs(model: Qwen2_5OmniThinkerForConditionalGeneration, scenes: Sequence[AudioScene], mel: Mel) -> Tensor:
    """The audio tower's outputs (units, D) of clips of one length."""
    features = mel(scenes)
    flat = features.permute(1, 0, 2).reshape(features.shape[1], -1)
    lengths = torch.full((len(scenes),), features.shape[2])
    output: Tensor = model.model.audio_tower(flat, feature_lens=lengths).last_hidden_state
    return output


def vision_outputs(model: Qwen2_5OmniThinkerForConditionalGeneration, scenes: Sequence[Scene]) -> Tensor:
    """The vision tower's outputs (units, D) of pictures or videos of one size."""
    pixels, grid = vision_inputs(scenes)
    output: Tensor = model.model.visual(pixels, grid_thw=grid).pooler_output
    return output


def tower_outputs(
    model: Qwen2_5OmniThinkerForConditionalGeneration, scenes: Sequence[Scene], mel: Mel
) -> tuple[Tensor, Tensor]:
    """Tower outputs (B, N, D) of rendered scenes of one modality, and which units are sound (B, N)."""
    pictures = [scene.image if isinstance(scene, TalkingScene) else scene for scene in scenes]
    clips = [scene.audio if isinstance(scene, TalkingScene) else scene for scene in scenes]
    outputs, sounds = [], []
    if not isinstance(pictures[0], AudioScene):
        outputs.append(vision_outputs(model, pictures))
        sounds.append(False)
    if isinstance(clips[0], AudioScene):
        outputs.append(audio_outputs(model, [clip for clip in clips if isinstance(clip, AudioScene)], mel))
        sounds.append(True)
    outputs = [output.view(len(scenes), -1, output.shape[-1]) for output in outputs]
    flags = [torch.full(output.shape[:2], sound) for output, sound in zip(outputs, sounds, strict=True)]
    return torch.cat(outputs, 1), torch.cat(flags, 1)
