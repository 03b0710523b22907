"""The end of a search: the best on search are ranked on validation, reported once on test, and one is exported."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotc.errors import AutotcError
from autotc.evaluate.base import Evaluator
from autotc.files import write_text
from autotc.gate.baseline import samples_path, uncompressed_path
from autotc.policy import UNCOMPRESSED, Measured, Policy
from autotc.report.figures import FrontFigure, Point, front_png, main_family
from autotc.report.study_page import front_html, study_html
from autotc.results import Results, SplitCost
from autotc.search.account import WORTH, account_of
from autotc.search.engine import Engine
from autotc.search.errors import SearchStopped
from autotc.search.looked import look_at_samples
from autotc.search.problem import Problem
from autotc.search.progress import SearchProgress
from autotc.search.recording import record_front
from autotc.search.result import FrontRow, SearchResult
from autotc.search.settings import RANKED, SearchSettings
from autotc.search.split_runs import SplitRuns
from autotc.search.storage import Study
from autotc.search.tally import Tally
from autotc.search.trials import TrialRecord, trial_front
from autotc.search.worth import Trials, assess
from autotc.statistics import Interval
from autotc.tracking import Tracker, masked
from autotc.tracking.registry import describe
from autotc.versions import installed_versions
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
        runs: of policies on validation and test, by all workers.
        progress: told how it goes.
        shared: whether other workers may be there.
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
    runs: SplitRuns
    progress: SearchProgress
    shared: bool


def finish(ending: Ending, asked: SearchSettings, tracker: Tracker | None, started: float) -> SearchResult:
    """Rank on validation, report on test, export.

    What is run is kept in the study's folder, so that a resumed search goes on here. A policy that cannot be run is
    left out by name.

    Args:
        ending: what was searched and found.
        asked: for the folder of the policy file, and how many policies are ranked and reported.
        tracker: parent run of the study.
        started: time of the call's begin, of the monotonic clock.

    Raises:
        SearchStopped: nothing that was found can be run on validation or test; what was found is kept.
    """
    study = ending.study
    ending.progress.on_phase("val")
    candidates = _ranked_on_validation(ending, asked.ranked)
    ending.progress.on_phase("test")
    exported = asked.out_dir / f"{study.settings.policy_name}.yaml"
    chosen, measured, baseline, points = _tested(ending, candidates, asked.reported, exported)
    rows = [row for row, _ in points]
    ending.progress.on_phase("worth")
    worth = assess(_trials(ending), chosen.policy, measured, points)
    study.note(WORTH, {**worth.to_json(), "chosen": chosen.number, "policy": str(exported)})
    ending.progress.on_phase("report")
    look_at_samples(ending.evaluator, chosen.policy, measured, baseline, study.folder, ending.progress.on_event)
    figures = _figures(ending)
    if tracker is not None:
        artefacts = [exported, samples_path(exported), uncompressed_path(exported), *figures]
        account = account_of(study)
        record_front(tracker, rows, ending.tally, _metrics(ending, chosen, baseline), artefacts, account)
        if asked.register_as is not None:
            version = tracker.register(asked.register_as, exported, describe(Policy.load(exported)))
            if version is not None:
                ending.progress.on_event(f"registered {exported} as models:/{asked.register_as}/{version}")
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
        storage=masked(study.home.url),
        mlflow_uri=None if tracker is None else tracker.uri,
        figures=tuple(figures),
        exhausted=ending.exhausted,
        raced=ending.tally.raced,
        forwards=ending.engine.forwards,
        saved=whole_runs - ending.engine.forwards,
        watched=ending.tally.calibration_forwards,
        audited=ending.tally.audits(ending.engine, ending.records),
        worth=worth,
    )


def _tested(
    ending: Ending, candidates: Sequence[TrialRecord], most: int, exported: Path
) -> tuple[TrialRecord, Results, Results, list[tuple[FrontRow, Results]]]:
    """Run the front and the best candidate on test, once, and write their files.

    Args:
        ending: what was searched and found.
        candidates: best first.
        most: policies of the front that are run.
        exported: file of the best candidate that can be run.

    Returns:
        That candidate, its results and the uncompressed model's, and each policy of the front with its results.

    Raises:
        SearchStopped: neither the uncompressed model nor any candidate can be run.
    """
    front = trial_front(ending.records)
    ending.progress.on_policy(1, 1 + min(len(front), most))
    if ending.shared:
        likely = _reported(front, candidates[0], most) if candidates else []
        ending.runs.spread([UNCOMPRESSED, *(record.policy for record in likely)], "test")
    baseline = _run(ending, UNCOMPRESSED, "test")
    if baseline is None:
        raise SearchStopped("the uncompressed model cannot be run on test", ending.study.name)
    chosen, measured = _first_that_runs(ending, candidates)
    baseline.save(ending.study.folder / "uncompressed.test.samples.parquet")
    baseline.save(uncompressed_path(exported))
    points: list[tuple[FrontRow, Results]] = []
    reported = _reported(front, chosen, most)
    for number, record in enumerate(reported, 2):
        ending.progress.on_policy(number, 1 + len(reported))
        results = measured if record is chosen else _run(ending, record.policy, "test")
        if results is not None:
            row = _report(ending, record, results, baseline, exported if record is chosen else None)
            points.append((row, results))
    return chosen, measured, baseline, points


def _trials(ending: Ending) -> Trials:
    """What was tried, as the comparison with presets and controls takes it."""
    return Trials(
        records=ending.records,
        run=lambda policy, split: _run(ending, policy, split),
        cost=ending.problem.costs,
    )


def _first_that_runs(ending: Ending, candidates: Sequence[TrialRecord]) -> tuple[TrialRecord, Results]:
    """The first candidate that can be run on test, and its results there.

    Raises:
        SearchStopped: none can.
    """
    for candidate in candidates:
        results = _run(ending, candidate.policy, "test")
        if results is not None:
            return candidate, results
    raise SearchStopped("none of the best policies can be run on validation and test", ending.study.name)


def _metrics(ending: Ending, chosen: TrialRecord, baseline: Results) -> dict[str, float]:
    """What the study's parent run records in the end."""
    return {
        "hypervolume": ending.hypervolume,
        "trials": len(ending.records),
        "forwards": ending.engine.forwards,
        "search/accuracy": chosen.accuracy,
        "test/uncompressed": baseline.mean(),
    }


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
    order = rank(records, lambda policy: evaluator.run(policy, "val", limit=limit), ranked)
    return order[0]


def rank(
    records: Sequence[TrialRecord],
    run: Callable[[Policy], Results | None],
    ranked: int = RANKED,
    began: Callable[[int, int], None] | None = None,
) -> list[TrialRecord]:
    """The best on the search split, in the order of their results on validation.

    Args:
        records: that may be chosen.
        run: results of a policy on validation; None where it cannot be run, and is left out.
        ranked: how many are run, see `choose`.
        began: called before each with its number, from 1, and how many there are.
    """
    candidates = _candidates(records, ranked)
    scored = []
    for number, record in enumerate(candidates, 1):
        if began is not None:
            began(number, len(candidates))
        results = run(record.policy)
        if results is not None:
            scored.append((-results.mean(), -results.mean_log_probability(), record.number, record))
    return [record for *_, record in sorted(scored, key=lambda row: row[:3])]


def _candidates(records: Sequence[TrialRecord], ranked: int) -> list[TrialRecord]:
    """Trials that are ranked on validation, see `choose`."""
    accurate = sorted(records, key=lambda r: (-r.accuracy, r.flops_ratio, r.number))
    likely = sorted(records, key=lambda r: (-r.log_probability, r.flops_ratio, r.number))
    return list({r.number: r for r in [*accurate[: (ranked + 1) // 2], *likely[: ranked // 2]]}.values())


def _ranked_on_validation(ending: Ending, ranked: int) -> list[TrialRecord]:
    """The best on search that meet the budget on every split, in the order of their results on validation."""
    splits: tuple[Split, ...] = ("val", "test")
    costs = ending.problem.costs
    fitting = [r for r in ending.records if all(_met(ending.problem, costs(r.policy, split)) for split in splits)]
    if not fitting:
        ending.progress.on_event("no policy keeps within the budget on validation and test; the best on search is near")
        fitting = ending.records
    if ending.shared:
        ending.runs.spread([record.policy for record in _candidates(fitting, ranked)], "val")
    return rank(fitting, lambda policy: _run(ending, policy, "val"), ranked, ending.progress.on_policy)


def _run(ending: Ending, policy: Policy, split: Split) -> Results | None:
    """Results of a policy on validation or test, kept in the study's folder; None where it cannot be run, by name."""
    return ending.runs.results(policy, split)


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
    ending: Ending, record: TrialRecord, results: Results, baseline: Results, exported: Path | None
) -> FrontRow:
    """Write the files of a trial with its results on test, in the study's folder and where it is exported to."""
    if exported is not None:
        _tell_replaced(ending, record, exported)
    measured = _measured(ending, record, results)
    files = [ending.study.folder / "front" / f"trial-{record.number}.yaml", *([exported] if exported else [])]
    for file in files:
        measured.save(file)
        results.save(samples_path(file))
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


def _tell_replaced(ending: Ending, record: TrialRecord, path: Path) -> None:
    """Tell where the exported file takes the place of another study's or trial's."""
    if not path.exists():
        return
    try:
        measured = Policy.load(path).measured
    except AutotcError:
        measured = None
    base_name = ending.study.settings.base_name
    if measured is None:
        ending.progress.on_event(f"{path}: another file stood there; it is replaced")
    elif (measured.study, measured.trial) != (base_name, record.number):
        ending.progress.on_event(f"{path}: replaces trial {measured.trial} of {measured.study}")


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
        tokens={name: round(value, 4) for name, value in cost.tokens.items()},
        versions=installed_versions(),
        study=ending.study.settings.base_name,
        trial=record.number,
    )
    return record.policy.model_copy(update={"model": evaluator.model, "measured": measured})


def _figures(ending: Ending) -> list[Path]:
    """Draw the front as PNG and as a page, and write the report, into the study's folder."""
    points = [
        Point(r.policy.label(), main_family(r.policy), r.accuracy, r.flops_ratio, r.number) for r in ending.records
    ]
    title = f"{ending.study.name}: {len(points)} feasible policies"
    figure = FrontFigure(title, points, ending.uncompressed.overall(), ending.problem.budget.overall)
    folder, account = ending.study.folder, account_of(ending.study)
    return [
        front_png(figure, folder / "front.png"),
        write_text(folder / "front.html", front_html(account)),
        write_text(folder / "report.html", study_html(account)),
    ]
