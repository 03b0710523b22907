"""Carrying out the stages of `recipes`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Qwen2_5OmniThinkerForConditionalGeneration

from autotc.tiny.config import build_model, build_processor
from autotc.tiny.scenes import SCENES, AudioScene, ChorusScene, ImageScene, Scene, VideoScene
from autotc.tiny.sources import Sources, load_sources
from autotc.tiny.train.inputs import Mel, audio_outputs, symbol_table, symbols, tower_outputs, vision_outputs
from autotc.tiny.train.loop import RunningMeans, StageRun
from autotc.tiny.train.losses import AuxiliaryHeads, decoder_losses, tower_loss
from autotc.tiny.train.packing import Packed, Packer
from autotc.tiny.train.recipes import JOINED, Recipe

IMAGE_UNITS = 64
LOG_EVERY = 70


def train(recipe: Recipe, out: Path, batch: int) -> None:
    """Carry out one stage.

    Args:
        recipe: the stage.
        out: folder of checkpoints and logs.
        batch: scenes a step, of stages that train the decoder.
    """
    model, heads = _untrained()
    if recipe.trains == "decoder":
        _train_decoder(recipe, out, batch, model, heads)
    elif recipe.trains == "all":
        _train_joint(recipe, out, batch, model, heads)
    else:
        _train_tower(recipe, out, model)


def export(out: Path, folder: Path) -> None:
    """Write the trained checkpoint, tokenizer and processors in the hub's layout."""
    model, _ = _untrained()
    model.load_state_dict(torch.load(out / "joint.pt", weights_only=True)["model"])
    model.requires_grad_(True)
    model.save_pretrained(folder)
    build_processor().save_pretrained(folder)


def _untrained() -> tuple[Qwen2_5OmniThinkerForConditionalGeneration, AuxiliaryHeads]:
    model = build_model()
    model.train()
    torch.manual_seed(1)
    return model, AuxiliaryHeads(model.config.text_config.hidden_size)


def _train_tower(recipe: Recipe, out: Path, model: Qwen2_5OmniThinkerForConditionalGeneration) -> None:
    table, sources = symbol_table(model), load_sources("train")
    audio = recipe.trains == "audio"
    tower = model.model.audio_tower if audio else model.model.visual
    mel = Mel() if audio else None
    if recipe.after:
        tower.load_state_dict(torch.load(out / f"{recipe.after}.pt", weights_only=True)[recipe.after])
    run = StageRun(out, recipe, {recipe.stage: tower})
    for step, rng, backward in run.steps((list(tower.parameters()), 1.0)):
        scenes: list[Scene]
        if mel is not None:
            clips = [AudioScene(rng, sources, counts=(4, 5)) for _ in range(24)]
            scenes, hidden = [*clips], audio_outputs(model, clips, mel)
        else:
            if step % 2 == 0:
                scenes = [ImageScene(rng, sources, counts=(recipe.image_digits,)) for _ in range(16)]
            else:
                scenes = [VideoScene(rng, sources, counts=(recipe.video_digits,)) for _ in range(16)]
            hidden = vision_outputs(model, scenes)
        labels = torch.from_numpy(np.concatenate([scene.labels() for scene in scenes]))
        loss, stats = tower_loss(hidden, labels, table, audio)
        backward(loss)
        if step % 50 < 2:
            run.report(step, loss=float(loss.detach()), **stats)


def _train_decoder(
    recipe: Recipe,
    out: Path,
    batch: int,
    model: Qwen2_5OmniThinkerForConditionalGeneration,
    heads: AuxiliaryHeads,
) -> None:
    """All tasks on symbolic scenes; the word embeddings stay as they are."""
    table, sources, packer = symbol_table(model), load_sources("train"), Packer(model)
    language = model.model.language_model
    language.embed_tokens.weight.requires_grad_(False)
    params = [p for p in [*language.parameters(), *model.lm_head.parameters()] if p.requires_grad]
    modules: dict[str, nn.Module] = {"language": language, "head": model.lm_head, "heads": heads}
    if recipe.after:
        state = torch.load(out / f"{recipe.after}.pt", weights_only=True)
        for name, module in modules.items():
            module.load_state_dict(state[name], strict=name != "heads")
    run, means = StageRun(out, recipe, modules), RunningMeans()
    std = float(language.embed_tokens.weight.std())
    for step, rng, backward in run.steps(([*params, *heads.parameters()], 1.0)):
        kind = recipe.scenes[step % len(recipe.scenes)]
        scenes, packed = _symbolic_batch(kind, batch, rng, sources, packer)
        generator = torch.Generator().manual_seed(step)
        features = symbols(table, packed.labels, _is_sound(kind, packed))
        features = features + 0.3 * std * torch.randn(features.shape, generator=generator)
        loss, aux, stats = decoder_losses(model, heads, features, packed, scenes[0], packer.tasks)
        backward(loss + 0.5 * aux)
        means.add(stats | {f"aux.{kind}": float(aux.detach()), "loss": float(loss.detach())})
        if (step + 1) % LOG_EVERY == 0:
            run.report(step + 1, **means.take())


def _symbolic_batch(
    kind: str, batch: int, rng: np.random.Generator, sources: Sources, packer: Packer
) -> tuple[list[Scene], Packed]:
    """Scenes of one kind, most of their empty units left out in most batches."""
    if kind == "chorus":
        chorus: list[Scene] = [ChorusScene(rng, sources) for _ in range(batch)]
        return chorus, packer.pack(chorus, rng, blanks=10, max_questions=2)
    scenes = [SCENES[kind](rng, sources) for _ in range(batch)]
    return scenes, packer.pack(scenes, rng, blanks=10 if rng.random() < 0.85 else None)


def _is_sound(kind: str, packed: Packed) -> Tensor:
    """Which units are sound, (B, N) bool."""
    if kind in ("image+audio", "chorus"):
        return packed.units >= IMAGE_UNITS
    return torch.full(packed.units.shape, kind == "audio")


def _train_joint(
    recipe: Recipe,
    out: Path,
    batch: int,
    model: Qwen2_5OmniThinkerForConditionalGeneration,
    heads: AuxiliaryHeads,
) -> None:
    """Real inputs through towers and decoder, dense and auxiliary losses kept at a low weight."""
    _assemble(model, heads, out)
    table = symbol_table(build_model())
    sources, packer, mel = load_sources("train"), Packer(model), Mel()
    model.requires_grad_(True)
    run, means = StageRun(out, recipe, {"model": model, "heads": heads}), RunningMeans()
    for step, rng, backward in run.steps(([*model.parameters(), *heads.parameters()], 1.0)):
        kind = recipe.scenes[step % len(recipe.scenes)]
        scenes = [SCENES[kind](rng, sources) for _ in range(batch)]
        features, sound = tower_outputs(model, scenes, mel)
        packed = packer.pack(scenes, rng, blanks=None)
        loss, aux, stats = decoder_losses(model, heads, features, packed, scenes[0], packer.tasks)
        dense = loss.detach() * 0
        for is_audio in (False, True):
            of_tower = sound == is_audio
            if bool(of_tower.any()):
                part, tower_stats = tower_loss(features[of_tower], packed.labels[of_tower], table, is_audio)
                dense = dense + part
                stats |= {f"dense.{kind}.{name}": value for name, value in tower_stats.items()}
        backward(loss + 0.2 * aux + 0.4 * dense)
        means.add(stats | {"loss": float(loss.detach())})
        if (step + 1) % LOG_EVERY == 0:
            run.report(step + 1, **means.take())


def _assemble(model: Qwen2_5OmniThinkerForConditionalGeneration, heads: AuxiliaryHeads, out: Path) -> None:
    """Put the weights of towers and decoder together."""
    parts: dict[str, dict[str, nn.Module]] = {
        "vision": {JOINED["vision"]: model.model.visual},
        "audio": {JOINED["audio"]: model.model.audio_tower},
        "decoder": {"language": model.model.language_model, "head": model.lm_head, "heads": heads},
    }
    for part, modules in parts.items():
        state = torch.load(out / f"{JOINED[part]}.pt", weights_only=True)
        for name, module in modules.items():
            module.load_state_dict(state[name])
