"""The end of a search: the best on search are ranked on validation, reported once on test, and one is exported."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotc.evaluate.base import Evaluator
from autotc.policy import UNCOMPRESSED, Measured, Policy
from autotc.report.figures import FrontFigure, Point, front_html, front_png, main_family
from autotc.results import Results, SplitCost
from autotc.search.engine import Engine
from autotc.search.problem import Problem
from autotc.search.progress import SearchProgress
from autotc.search.recording import record_front
from autotc.search.result import FrontRow, SearchResult
from autotc.search.settings import RANKED, SearchSettings
from autotc.search.storage import Study, TrialRecord, trial_front
from autotc.search.tally import Tally
from autotc.statistics import Interval, mean_of_groups_interval
from autotc.tracking import Tracker
from autotc.vocabulary import Split


@dataclass(frozen=True)
class Ending:
    """What the end of a search builds on.

    Attributes:
        evaluator: runs policies on validation and test.
        study, problem: that was searched.
        engine: that ran it.
        records: feasible trials, at least one.
        tally: counts over all trials.
        uncompressed: the uncompressed model's results on the search split.
        exhausted: whether the space ran out of new feasible policies.
        hypervolume: of the front on the search split.
    """

    evaluator: Evaluator
    study: Study
    problem: Problem
    engine: Engine
    records: list[TrialRecord]
    tally: Tally
    uncompressed: Results
    exhausted: bool
    hypervolume: float


def finish(
    ending: Ending, asked: SearchSettings, tracker: Tracker | None, progress: SearchProgress, started: float
) -> SearchResult:
    """Rank on validation, report on test, export.

    Args:
        ending: what was searched and found.
        asked: for the limits, the folder of the policy file, and how many policies are ranked and reported.
        tracker: parent run of the study.
        progress: told how it goes.
        started: time of the call's begin, of the monotonic clock.
    """
    study = ending.study
    chosen = _choose(ending, asked, progress)
    progress.on_phase("test")
    baseline = ending.evaluator.run(UNCOMPRESSED, "test", limit=asked.test_limit)
    baseline.save(study.folder / "uncompressed.test.samples.parquet")
    exported = asked.out_dir / f"{study.settings.policy_name}.yaml"
    rows = [
        _report(ending, record, baseline, asked.test_limit, exported if record is chosen else None)
        for record in _reported(trial_front(ending.records), chosen, asked.reported)
    ]
    figures = _figures(ending)
    if tracker is not None:
        metrics = {
            "hypervolume": ending.hypervolume,
            "trials": len(ending.records),
            "forwards": ending.engine.forwards,
            "search/accuracy": chosen.accuracy,
            "test/uncompressed": baseline.mean(),
        }
        artefacts = [exported, exported.with_suffix(".samples.parquet"), *figures]
        record_front(tracker, rows, ending.tally, metrics, artefacts)
    whole_runs = len(ending.uncompressed) * (len(ending.records) + ending.tally.raced)
    return SearchResult(
        policy=exported,
        front=tuple(rows),
        uncompressed=baseline.accuracy("modality"),
        floors=ending.problem.floors,
        trials=len(ending.records),
        refused=dict(sorted(ending.tally.refused.items())),
        failed=ending.tally.failed,
        seconds=time.monotonic() - started,
        hypervolume=ending.hypervolume,
        study=study.name,
        storage=study.url,
        mlflow_uri=None if tracker is None else tracker.uri,
        figures=tuple(figures),
        exhausted=ending.exhausted,
        raced=ending.tally.raced,
        forwards=ending.engine.forwards,
        saved=whole_runs - ending.engine.forwards,
        watched=ending.tally.calibration_forwards,
        audited=ending.tally.audits(ending.engine, ending.records),
    )


def choose(
    records: Sequence[TrialRecord], evaluator: Evaluator, *, limit: int | None = None, ranked: int = RANKED
) -> TrialRecord:
    """The best on the validation split among the best on the search split.

    Half of the candidates are the most accurate on search; the other half give the right answers the highest
    probability, since the most accurate on few samples is partly the luckiest.

    Args:
        records: that may be chosen, at least one.
        evaluator: runs the candidates.
        limit: validation samples of each modality group; None for all.
        ranked: candidates.
    """
    accurate = sorted(records, key=lambda r: (-r.accuracy, r.flops_ratio, r.number))
    likely = sorted(records, key=lambda r: (-r.log_probability, r.flops_ratio, r.number))
    candidates = {r.number: r for r in [*accurate[: (ranked + 1) // 2], *likely[: ranked // 2]]}
    scored = []
    for record in candidates.values():
        results = evaluator.run(record.policy, "val", limit=limit)
        scored.append((-results.mean(), -results.mean_log_probability(), record.number, record))
    return min(scored, key=lambda row: row[:3])[3]


def _choose(ending: Ending, asked: SearchSettings, progress: SearchProgress) -> TrialRecord:
    """The best on validation among the best on search that meet the budget on every split."""
    progress.on_phase("val")
    splits: tuple[Split, ...] = ("val", "test")
    costs = ending.problem.costs
    fitting = [r for r in ending.records if all(_met(ending.problem, costs(r.policy, split)) for split in splits)]
    if not fitting:
        progress.on_event("no policy keeps within the budget on validation and test; the best on search is near")
        fitting = ending.records
    return choose(fitting, ending.evaluator, limit=asked.val_limit, ranked=asked.ranked)


def _met(problem: Problem, cost: SplitCost) -> bool:
    """Whether a cost on any split keeps within the budget; milliseconds are absolute."""
    limit = problem.budget_ms
    return problem.budget.met(cost) and (limit is None or cost.milliseconds is None or cost.milliseconds <= limit)


def _reported(front: list[TrialRecord], chosen: TrialRecord, most: int) -> list[TrialRecord]:
    """Trials that are measured on test: the front, evenly thinned, and the chosen one; cheapest first."""
    shown = front
    if len(front) > most:
        at = [round(i * (len(front) - 1) / max(1, most - 1)) for i in range(most)]
        shown = list({front[i].number: front[i] for i in at}.values())
    if chosen not in shown:
        shown = sorted([*shown, chosen], key=lambda record: record.flops_ratio)
    return shown


def _report(
    ending: Ending, record: TrialRecord, baseline: Results, limit: int | None, exported: Path | None
) -> FrontRow:
    """Measure a trial on test and write its files, in the study's folder and where it is exported to."""
    results = ending.evaluator.run(record.policy, "test", limit=limit)
    measured = _measured(ending, record, results)
    files = [ending.study.folder / "front" / f"trial-{record.number}.yaml", *([exported] if exported else [])]
    for file in files:
        measured.save(file)
        results.save(file.with_suffix(".samples.parquet"))
    cost = ending.problem.costs(record.policy, "test")
    return FrontRow(
        policy=str(files[-1]),
        label=record.policy.label(),
        accuracy=results.mean(),
        accuracy_by=results.accuracy("modality"),
        flops_ratio=cost.flops_ratio,
        trial=record.number,
        tokens=dict(cost.tokens),
        split="test",
        difference=results.difference(baseline),
        chosen=exported is not None,
        kv_ratio=cost.kv_ratio,
        predicted_ms=cost.milliseconds,
        accuracy_search=record.accuracy,
    )


def _measured(ending: Ending, record: TrialRecord, results: Results) -> Policy:
    """The policy with what was measured of it on the test split."""
    evaluator, cost = ending.evaluator, ending.problem.costs(record.policy, "test")
    measured = Measured(
        evaluator=evaluator.name,
        split="test",
        samples=results.counts(),
        seed=evaluator.seed,
        samples_sha256=evaluator.info("test").sha256,
        accuracy={
            key: Interval(*(round(value, 6) for value in interval))
            for key, interval in results.accuracy("modality").items()
        },
        flops_ratio=round(cost.flops_ratio, 6),
        kv_ratio=round(cost.kv_ratio, 6),
        predicted_ms=None if cost.milliseconds is None else round(cost.milliseconds, 4),
        study=ending.study.settings.base_name,
        trial=record.number,
    )
    return record.policy.model_copy(update={"model": evaluator.model, "measured": measured})


def _figures(ending: Ending) -> list[Path]:
    """Draw the front as PNG and HTML into the study's folder."""
    points = [
        Point(r.policy.label(), main_family(r.policy), r.accuracy, r.flops_ratio, r.number) for r in ending.records
    ]
    title = f"{ending.study.name}: {len(points)} feasible policies"
    interval = mean_of_groups_interval(list(ending.uncompressed.groups("modality").values()))
    figure = FrontFigure(title, points, interval, ending.problem.budget.overall)
    folder = ending.study.folder
    return [front_png(figure, folder / "front.png"), front_html(figure, folder / "front.html")]
