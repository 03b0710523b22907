"""A stored study as its report shows it."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autotc.errors import AutotcError, DataError
from autotc.evaluate.base import Evaluator
from autotc.gate.baseline import samples_path
from autotc.pareto import hypervolume
from autotc.policy import UNCOMPRESSED, Policy
from autotc.records.account import (
    LOOKED_FOLDER,
    LOOKED_INDEX,
    Changed,
    Kind,
    Looked,
    Progressed,
    StudyAccount,
    Tested,
    Tried,
)
from autotc.report.figures import main_family
from autotc.results import Results
from autotc.search.home import Home
from autotc.search.outcome import PREDICTED_CONFLICT
from autotc.search.storage import Study, load_study
from autotc.search.trials import TrialRecord, stored_policy, trial_front
from autotc.statistics import mean_of_intervals
from autotc.versions import installed_versions
from autotc.vocabulary import SPLITS

if TYPE_CHECKING:
    import optuna

CONTEXT = "context"
"""Attribute of a study: what it was about, noted as it begins."""
WORTH = "worth"
"""Attribute of a study: what it was worth, noted as it ends."""
SHOWN = 24
"""Samples with another answer that are shown."""
_FEWEST = 12
"""Trials from which on importances are told."""


def study_account(name: str, home: Home) -> StudyAccount:
    """What a stored study found, and how; also of one that runs still.

    Args:
        name: of the study.
        home: where the study lives.

    Raises:
        SearchError: there is no such study.
    """
    return account_of(load_study(name, home))


def account_of(study: Study) -> StudyAccount:
    """What a study found, and how; also while it runs."""
    settings, context = study.settings, study.attribute(CONTEXT) or {}
    records = list(study.records())
    tested, baseline = _tested(study)
    chosen = next((row for row in tested if row.chosen), None)
    refused: dict[str, int] = {}
    conflicts: list[str] = []
    raced = failed = 0
    for trial, stored in study.trials():
        raced += stored.raced is not None
        failed += trial.state.name == "FAIL"
        if stored.refused is not None:
            refused[stored.refused] = refused.get(stored.refused, 0) + 1
        if stored.refused == PREDICTED_CONFLICT:
            conflicts.append(stored_policy(stored, trial.number).label())
    by_trial = {trial.number: stored.flops_ratio_by for trial, stored in study.trials()}
    uncompressed = _results(study.folder / "uncompressed.samples.parquet")
    return StudyAccount(
        study=study.name,
        model=context.get("model", "not known"),
        evaluator=context.get("evaluator", "not known"),
        seed=settings.seed,
        sampler=settings.sampler,
        budget=_budget(study),
        tried=tuple(_tried(records, by_trial)),
        uncompressed=None if uncompressed is None else uncompressed.overall(),
        tested=tuple(tested),
        baseline={} if baseline is None else baseline.accuracy(),
        worth=study.attribute(WORTH),
        changed=() if chosen is None or baseline is None else tuple(_changed(study, chosen, baseline)),
        looked=() if chosen is None else tuple(_looked(study.folder / LOOKED_FOLDER)),
        progress=tuple(_progress(study, float(context.get("chance", 0.0)))),
        importances=_importances(study),
        refused=dict(sorted(refused.items())),
        raced=raced,
        failed=failed,
        conflicts=tuple(dict.fromkeys(conflicts)),
        layers=context.get("layers", {}),
        usual_tokens=context.get("tokens", {}),
        samples=context.get("samples", {}),
        versions=context.get("versions", {}),
        policy=(study.attribute(WORTH) or {}).get("policy"),
        samples_sha256=settings.samples_sha256,
    )


def describe(evaluator: Evaluator, chance: float) -> dict[str, object]:
    """What a study is about, as it is noted when it begins.

    Args:
        evaluator: of the study.
        chance: accuracy of guessing, mean over modality groups.
    """
    depths = evaluator.depths
    return {
        "model": evaluator.model.architecture,
        "evaluator": evaluator.name,
        "chance": chance,
        "layers": {**depths.encoder, "decoder": depths.decoder},
        "tokens": dict(evaluator.cost(UNCOMPRESSED, "search").tokens),
        "samples": {split: dict(evaluator.info(split).samples) for split in SPLITS},
        "versions": installed_versions(),
    }


def _budget(study: Study) -> dict[str, float]:
    """What policies may cost, in words."""
    settings = study.settings
    limits = {"prefill FLOPs": settings.budget, "milliseconds of prefill": settings.budget_ms}
    limits["bytes of keys and values"] = settings.budget_kv
    limits |= {f"FLOPs of {modality}": limit for modality, limit in settings.budgets.items()}
    return {name: limit for name, limit in limits.items() if limit is not None and not (name[0] == "p" and limit >= 1)}


def _tried(records: list[TrialRecord], flops_by: dict[int, dict[str, float]]) -> Iterator[Tried]:
    front = {record.number for record in trial_front(records)}
    kinds: dict[str, Kind] = {"preset": "preset", "control": "control"}
    for record in records:
        yield Tried(
            trial=record.number,
            kind=kinds.get(record.origin.partition(":")[0], "found"),
            stages=record.policy.stages,
            family=main_family(record.policy),
            accuracy=record.accuracy,
            accuracy_by=record.accuracy_by,
            flops_ratio=record.flops_ratio,
            flops_ratio_by=flops_by[record.number],
            tokens=record.tokens,
            front=record.number in front,
        )


def _results(path: Path) -> Results | None:
    """Stored results; None where they are missing or damaged."""
    with suppress(DataError):
        return Results.load(path)
    return None


def _tested(study: Study) -> tuple[list[Tested], Results | None]:
    """The front on the test split, cheapest first, and the uncompressed model's results there."""
    baseline = _results(study.folder / "uncompressed.test.samples.parquet")
    chosen = (study.attribute(WORTH) or {}).get("chosen")
    rows = []
    for path in sorted((study.folder / "front").glob("trial-*.yaml")):
        results = _results(samples_path(path))
        try:
            policy = Policy.load(path)
        except AutotcError:
            continue
        measured = policy.measured
        if measured is None or measured.trial is None or results is None or baseline is None:
            continue
        rows.append(
            Tested(
                trial=measured.trial,
                stages=policy.stages,
                overall=mean_of_intervals(list(results.accuracy().values())),
                accuracy=results.accuracy(),
                difference=results.difference(baseline)["overall"],
                flops_ratio=measured.flops_ratio,
                kv_ratio=measured.kv_ratio,
                tokens=measured.tokens,
                chosen=measured.trial == chosen,
            )
        )
    return sorted(rows, key=lambda row: row.flops_ratio), baseline


def _changed(study: Study, chosen: Tested, baseline: Results) -> Iterator[Changed]:
    """Samples that the exported policy answers otherwise, those that broke first, at most `SHOWN`."""
    results = _results(study.folder / "front" / f"trial-{chosen.trial}.samples.parquet")
    before = {sample.id: sample for sample in baseline.samples}
    moved = [
        Changed(s.id, s.task, s.modality, before[s.id].answer, s.answer, s.correct - before[s.id].correct)
        for s in (() if results is None else results.samples)
        if s.correct != before[s.id].correct
    ]
    broke = [sample for sample in moved if sample.change < 0]
    healed = [sample for sample in moved if sample.change > 0]
    share = SHOWN - min(len(healed), SHOWN // 3)
    yield from broke[:share]
    yield from healed[: SHOWN - min(len(broke), share)]


def _looked(folder: Path) -> Iterator[Looked]:
    """Samples that were drawn; none where the pictures are missing or damaged."""
    try:
        rows = json.loads((folder / LOOKED_INDEX).read_text(encoding="utf-8"))
        pictures = [(folder / Path(row.pop("file")).name).read_bytes() for row in rows]
    except (OSError, ValueError, KeyError):
        return
    for row, picture in zip(rows, pictures, strict=True):
        yield Looked(**row, picture=f"data:image/webp;base64,{base64.b64encode(picture).decode()}")


def _progress(study: Study, chance: float) -> Iterator[Progressed]:
    """Hypervolume of the front after each trial that ran on the whole split."""
    front: list[tuple[float, float]] = []
    ran, forwards, area = 0, 0, 0.0
    for trial, stored in study.trials():
        forwards += stored.forwards
        if trial.state.name == "COMPLETE" and not any(value > 0 for value in trial.constraints.values()):
            value, cost = trial.values
            ran += 1
            if not any(other >= value and price <= cost for other, price in front):
                front = [(other, price) for other, price in front if other > value or price < cost] + [(value, cost)]
                area = hypervolume(front, (chance, 1.0))
            yield Progressed(ran, forwards, area)


def _importances(study: Study) -> dict[str, float]:
    """How much each parameter explains of the accuracy; empty where too few trials share any.

    Parameters of a space are conditional: importances are of those that all trials have.
    """
    from optuna.importance import get_param_importances

    def accuracy(trial: optuna.trial.FrozenTrial) -> float:
        return float(trial.values[0])

    if sum(trial.state.name == "COMPLETE" for trial, _ in study.trials()) < _FEWEST:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of experimental parts
            found = get_param_importances(study.stored, target=accuracy)
    except (ValueError, RuntimeError):
        return {}
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}
