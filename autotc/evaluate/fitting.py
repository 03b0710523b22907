"""Presets whose schedule is fitted to a model on a few samples, as their papers do."""

from __future__ import annotations

from collections.abc import Sequence

from autotc.errors import PolicyError
from autotc.evaluate.base import ObservableEvaluator
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.presets.catalogue import get_preset
from autotc.presets.fitting import fit_counts
from autotc.runtime.steps import Observation
from autotc.vocabulary import MODALITIES, Modality, Split

FITTED = ("fitprune",)
"""Presets that can be fitted."""


def fit_preset(
    name: str,
    evaluator: ObservableEvaluator,
    *,
    keep: float = 0.5,
    samples: int = 16,
    modalities: Sequence[Modality] | None = None,
) -> Policy:
    """A preset fitted to a model on samples of the search split.

    Args:
        name: of the preset, one of `FITTED`.
        evaluator: model and samples.
        keep: in (0, 1], mean keep ratio over the language model's layers.
        samples: of each modality, to read attention on.
        modalities: to compress; None takes all that the split holds.

    Raises:
        PolicyError: the preset has nothing to fit, or as `fit_fitprune` says.
    """
    check_fitted(name)
    held = evaluator.info("search").samples
    stages: list[Stage] = []
    for modality in modalities or [name for name in MODALITIES if name in held]:
        stages += fit_fitprune(evaluator, modality, keep, samples).stages
    note = f"preset {name} (arXiv 2409.10197), fitted on {samples} samples, accuracy not measured"
    return Policy.of(stages, evaluator.model).model_copy(update={"note": note})


def check_fitted(name: str) -> None:
    """Refuse a preset that has nothing to fit, before a model is loaded.

    Raises:
        PolicyError: it is not in `FITTED`.
    """
    get_preset(name)
    if name not in FITTED:
        raise PolicyError(
            f"--calibrate: {name} has nothing to fit; it is for {', '.join(FITTED)}, or goes with --budget"
        )


def fit_fitprune(
    evaluator: ObservableEvaluator, modality: Modality, keep: float, samples: int = 16, split: Split = "search"
) -> Policy:
    """FitPrune with its schedule fitted to the model (2409.10197, section 3.3).

    Args:
        evaluator: model and samples.
        modality: what to compress.
        keep: mean keep ratio over the language model's layers.
        samples: to read attention on.
        split: they are taken from.

    Raises:
        PolicyError: the split has no samples of the modality alone, or no schedule leaves so little.
    """
    if modality not in evaluator.info(split).samples:
        raise PolicyError(f"modality: no {modality} samples in the {split} split to fit fitprune on")
    layers = evaluator.depths.decoder
    probe = Policy.of([_stage(modality, dict.fromkeys(range(1, layers), 1.0))])
    own: list[list[list[float]]] = []
    text: list[list[list[float]]] = []

    def look(seen: Observation) -> None:
        valid = seen.tokens.valid[0]
        if seen.layer == 1:
            own.append([])
            text.append([])
        # A stage before layer k reads what layer k - 1 computed.
        own[-1].append(seen.scores["received_attention"][0, valid].tolist())
        text[-1].append(seen.scores["text_attention"][0, valid].sum(-1).tolist())

    evaluator.observe(probe, split, modality, samples, look)
    # The last layer's attention is read by no stage; nothing after it is left to save.
    ratios = fit_counts([[*one, one[-1]] for one in own], [[*one, one[-1]] for one in text], keep)
    falling = {k: round(ratios[k], 4) for k in range(1, layers) if ratios[k] < ratios[k - 1]}
    if not falling:
        return UNCOMPRESSED
    return Policy.of([_stage(modality, falling)], evaluator.model)


def _stage(modality: Modality, layers: dict[int, float]) -> Stage:
    return Stage(
        modality=modality, location="decoder", layer=None, mechanism="fitprune", keep_ratio=None, layers=layers
    )
