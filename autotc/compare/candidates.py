"""What a comparison measures: presets at the ratio that meets a target, or one mechanism at every place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from autotc.compare.settings import Presets
from autotc.conflicts.rules import check_rules
from autotc.errors import AutotcError, PolicyError
from autotc.evaluate.base import ObservableEvaluator
from autotc.mechanisms import MECHANISMS
from autotc.placement import Placement
from autotc.policy import Policy
from autotc.presets import PRESETS, Preset, get_preset
from autotc.records.comparison import Match, Skipped
from autotc.solve import bisect
from autotc.vocabulary import Location, Modality, Split

WITHIN = 0.01
"""How near a match has to come."""
_LOWEST = 1e-4
"""Keep ratio from which presets are tried, and how near two ratios come before the nearest is taken."""


@dataclass(frozen=True)
class Candidate:
    """A policy on one modality, ready to be measured.

    Attributes:
        preset, place, match, target, modality, keep, met: as in `ComparisonRow`.
        policy: to run.
        control: random selection at the same target; None where there is none to compare with.
    """

    preset: str
    place: str
    match: Match
    target: float
    modality: Modality
    keep: float
    met: bool
    policy: Policy
    control: Policy | None = None


def chosen_presets(names: Presets) -> list[Preset]:
    """Presets by name, or all.

    Raises:
        PolicyError: one is unknown.
    """
    return list(PRESETS.values()) if names == "all" else [get_preset(name) for name in names]


def preset_candidates(
    evaluator: ObservableEvaluator,
    presets: Sequence[Preset],
    targets: Sequence[tuple[Match, float]],
    modalities: Sequence[Modality],
    split: Split,
) -> tuple[list[Candidate], list[Skipped]]:
    """Each preset at each target on each modality that it takes, random selection first; and what cannot be.

    Args:
        evaluator, split: costs are of its samples.
        presets: to compare; ``random`` is always among them, since every row is compared with it.
        targets: what is made equal, and at which value.
        modalities: each is compressed alone.
    """
    control = get_preset("random")
    with_control = presets if any(preset.name == control.name for preset in presets) else [control, *presets]
    matched: list[Candidate] = []
    skipped: list[Skipped] = []
    for match, target in targets:
        for modality in modalities:
            for preset in with_control:
                if modality not in preset.modalities:
                    continue
                try:
                    matched.append(_matched(evaluator, split, preset, modality, (match, target)))
                except AutotcError as error:
                    skipped.append(Skipped(preset.name, modality, f"{match} {target:g}", str(error)))
    controls = {(c.match, c.target, c.modality): c.policy for c in matched if c.preset == control.name}
    return [
        Candidate(**{**vars(c), "control": controls.get((c.match, c.target, c.modality))}) for c in matched
    ], skipped


def _matched(
    evaluator: ObservableEvaluator, split: Split, preset: Preset, modality: Modality, aim: tuple[Match, float]
) -> Candidate:
    """A preset at the keep ratio at which it comes nearest to a target.

    Raises:
        PolicyError: no keep ratio gives a legal policy, or even the lowest costs more.
    """
    match, target = aim

    def at(keep: float) -> tuple[Policy, float]:
        policy = Policy.of(preset.build(modality, evaluator.depths, keep))
        cost = evaluator.cost(policy, split, groups=[modality])
        return policy, cost.lm_tokens[modality] if match == "tokens" else cost.flops_ratio_by[modality]

    tried = [(_LOWEST, *at(_LOWEST))]
    least = tried[0][2]
    if least > target + WITHIN:
        what = "of the language model's tokens" if match == "tokens" else "of the FLOPs"
        raise PolicyError(f"below its floor: it cannot go under {least:.3f} {what}")

    def met_at(keep: float) -> bool:
        tried.append((keep, *at(keep)))
        return tried[-1][2] <= target

    bisect(_LOWEST, 1.0, met_at, steps=24, tolerance=_LOWEST)
    keep, best, value = min(tried, key=lambda attempt: abs(attempt[2] - target))
    met = abs(value - target) <= WITHIN
    place = ", ".join(preset.locations)
    return Candidate(preset.name, place, match, target, modality, keep, met, best)


def location_candidates(
    evaluator: ObservableEvaluator, mechanism: str, keeps: Sequence[float], modalities: Sequence[Modality]
) -> tuple[list[Candidate], list[Skipped]]:
    """One mechanism at every place it can stand, at every keep ratio; and what a rule refuses.

    Raises:
        PolicyError: the mechanism is unknown.
    """
    if mechanism not in MECHANISMS:
        raise PolicyError(f"mechanism: unknown mechanism {mechanism!r}; known: {', '.join(sorted(MECHANISMS))}")
    candidates: list[Candidate] = []
    skipped: list[Skipped] = []
    for modality in modalities:
        for placed in placements(evaluator, mechanism, modality):
            for keep in keeps:
                policy = Policy.of([placed.stage(modality, keep)])
                try:
                    check_rules(policy, evaluator.depths, evaluator.locations)
                except PolicyError as error:
                    skipped.append(Skipped(placed.mechanism, modality, f"{placed.site} {keep:g}", str(error)))
                    continue
                candidates.append(Candidate(placed.mechanism, placed.site, "keep", keep, modality, keep, True, policy))
    return candidates, skipped


def placements(evaluator: ObservableEvaluator, mechanism: str, modality: Modality) -> Iterator[Placement]:
    """Every place of a mechanism, in the order of computation.

    At the input, where there are no tokens yet, ``downsample`` stands for it.
    """
    cls = MECHANISMS[mechanism]
    offered = evaluator.locations.get(modality, ())
    if "input" in offered:
        yield Placement("downsample", "input")
    if modality not in cls.modalities:
        return
    layers: dict[Location, Iterable[int | None]] = {
        "encoder": range(evaluator.depths.encoder.get(modality, 0)),
        "projector": (None,),
        "decoder": range(1, evaluator.depths.decoder),
    }
    for location, numbers in layers.items():
        if location in cls.locations and location in offered:
            yield from (Placement(mechanism, location, layer) for layer in numbers)
