"""The search: workers on one study until enough policies have run, then the end, which writes a policy file."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Unpack

from autotc.errors import DataError
from autotc.evaluate.base import Evaluator
from autotc.evaluate.embedded import embedded_evaluator
from autotc.search.errors import SearchError, SearchInterrupted, SearchStopped
from autotc.search.finish import Ending, finish
from autotc.search.interrupts import Terminated, termination_interrupts
from autotc.search.locks import hold_study
from autotc.search.opening import check_places, open_study
from autotc.search.outcome import Outcome, Ran
from autotc.search.progress import SearchProgress
from autotc.search.recording import open_tracker, record_trial
from autotc.search.result import SearchResult
from autotc.search.searcher import Searcher
from autotc.search.settings import ALONE, SearchOptions, SearchSettings
from autotc.search.storage import Study
from autotc.search.trials import StoredTrial
from autotc.tracking import Tracker

if TYPE_CHECKING:
    from autotc.search.sampler import PolicySampler

Assist = Callable[[Study], AbstractContextManager[object]]
"""Starts other workers of a study; they are to end with the context."""
_POLL = 1.0
"""Seconds between two looks of a worker that waits for the end of a search."""


def search(
    evaluator: Evaluator | None = None,
    *,
    progress: SearchProgress | None = None,
    assist: Assist | None = None,
    **settings: Unpack[SearchOptions],
) -> SearchResult:
    """Search the best policies of a model under a budget of FLOPs, milliseconds or KV bytes, and export one.

    Other processes may work on the same study meanwhile: see `worker`.

    Args:
        evaluator: runs policies; None takes the embedded model on its own benchmark.
        progress: told how it goes.
        assist: starts other workers, once the study is made.
        **settings: see `SearchSettings`; all may be left out.

    Raises:
        SearchError: settings are unknown or out of range, no policy can meet the budget, or a resumed study differs.
        SpaceError: the space is malformed or does not fit the model.
        SearchInterrupted: on Ctrl-C; everything is saved.

    Example:
        >>> result = autotc.search(budget=0.4, trials=8, search_limit=20, val_limit=20, test_limit=20)
        >>> result.policy
        PosixPath('policies/tiny-omni-0.4.yaml')
    """
    started = time.monotonic()
    asked = SearchSettings.of(settings)
    if evaluator is None:
        evaluator = embedded_evaluator()
    progress = progress or SearchProgress()
    check_places(asked)
    with ExitStack() as stack:
        stack.enter_context(termination_interrupts())
        progress.on_phase("open")
        study, problem = open_study(asked, evaluator)
        stack.enter_context(hold_study(study.folder, study.name))
        searcher, done = Searcher(evaluator, study, problem, asked, progress), False
        try:
            searcher.runs.lead()
            stack.enter_context(nullcontext() if assist is None else assist(study))
            tracker = open_tracker(study, problem, evaluator, asked, progress.on_event) if asked.track else None
            with tracker or nullcontext():
                searcher.recorder = None if tracker is None else _recorder(searcher, tracker)
                searcher.run()
                result = finish(_ending(searcher, evaluator, progress, asked), asked, tracker, started)
                done = True
                return result
        except (DataError, OSError) as error:
            raise SearchStopped(str(error), study.name) from error
        except KeyboardInterrupt as error:
            terminated = isinstance(error, Terminated)
            counted, total = searcher.tally.counted, study.settings.trials
            raise SearchInterrupted(study.name, counted, total, terminated=terminated) from error
        finally:
            searcher.close(done=done)


def _recorder(searcher: Searcher, tracker: Tracker) -> Callable[[int, Outcome, StoredTrial], None]:
    """Logs trials, also those that a kill, or another worker, has kept from MLflow."""
    before = {trial.number for trial, _ in searcher.study.trials()}
    logged = tracker.logged_trials() if before else set()

    def record(number: int, outcome: Outcome, stored: StoredTrial) -> None:
        if number in before and (logged is None or number in logged):  # None: MLflow does not tell
            return
        record_trial(tracker, searcher.engine, number, outcome, stored, searcher.study.settings.seed)
        if isinstance(outcome, Ran):
            tracker.curve("hypervolume", searcher.hypervolume(), len(searcher.records))
            tracker.curve("hypervolume by forwards", searcher.hypervolume(), searcher.engine.forwards)

    return record


def _ending(searcher: Searcher, evaluator: Evaluator, progress: SearchProgress, asked: SearchSettings) -> Ending:
    """What the end of the search builds on."""
    return Ending(
        evaluator=evaluator,
        study=searcher.study,
        problem=searcher.problem,
        engine=searcher.engine,
        records=searcher.records,
        tally=searcher.tally,
        uncompressed=searcher.uncompressed,
        exhausted=searcher.exhausted,
        hypervolume=searcher.hypervolume(),
        runs=searcher.runs,
        progress=progress,
        shared=asked.workers > 1 or searcher.study.home.file is None,
    )


def sampler(
    evaluator: Evaluator | None = None,
    *,
    progress: SearchProgress | None = None,
    **settings: Unpack[SearchOptions],
) -> PolicySampler:
    """The search as a sampler of Optuna's, with its study: for those who drive ``study.optimize`` themselves.

    Any number of processes may do so on one study; the first makes it, others give ``study_name`` and ``resume=True``.
    `search` with these two then ranks what was found, and exports a policy.

    Args:
        evaluator: runs policies; None takes the embedded model on its own benchmark.
        progress: told how it goes.
        **settings: as of `search`.

    Raises:
        SearchError: as of `search`, or the study's sampler proposes one policy after the other.
        SpaceError: the space is malformed or does not fit the model.

    Example:
        >>> sampler = autotc.sampler(budget=0.4, search_limit=20)  # doctest: +SKIP
        >>> sampler.study.optimize(sampler.objective, n_trials=8)  # doctest: +SKIP
        >>> autotc.search(study_name=sampler.study.study_name, resume=True, trials=8).policy  # doctest: +SKIP
        PosixPath('policies/tiny-omni-0.4.yaml')
    """
    from autotc.search.sampler import PolicySampler

    asked = SearchSettings.of(settings)
    evaluator = embedded_evaluator() if evaluator is None else evaluator
    progress = progress or SearchProgress()
    check_places(asked)
    progress.on_phase("open")
    study, problem = open_study(asked, evaluator)
    if study.settings.sampler in ALONE:
        raise SearchError(f"sampler: {study.settings.sampler} has a loop of its own; `autotc search` runs it")
    seed = int(time.time_ns() % 1_000_003) if asked.resume else 0
    return PolicySampler(Searcher(evaluator, study, problem, asked, progress, seed=seed))


@dataclass(frozen=True)
class WorkerReport:
    """What one worker did.

    Attributes:
        study: that it worked on.
        trials: distinct feasible policies that the study has now, by all workers.
        runs: policies that it ran for the study's end.
        ended: whether the study has been brought to its end by the search that leads it.
    """

    study: str
    trials: int
    runs: int
    ended: bool

    def to_json(self) -> dict[str, object]:
        """As ``--json`` prints it."""
        return asdict(self)


def worker(
    study: str,
    evaluator: Evaluator | None = None,
    *,
    progress: SearchProgress | None = None,
    **settings: Unpack[SearchOptions],
) -> WorkerReport:
    """Work on a study that a search has made, beside any number of others, until it has what it was asked for.

    Then it runs what the search needs for its end, as long as that search is there.

    Args:
        study: its name.
        evaluator: runs policies; None takes the embedded model on its own benchmark. It is to be what the study was
            made with.
        progress: told how it goes.
        **settings: ``runs``, ``storage`` and ``trial_timeout`` of `SearchSettings`; the study keeps the others.

    Raises:
        SearchError: there is no such study, it was made with another model or other samples, or its sampler proposes
            one policy after the other.
        SearchInterrupted: on Ctrl-C or SIGTERM; the trial that was running is given back.

    Example:
        >>> autotc.worker("tiny-omni-b0.4-s0", storage="postgresql://host/autotc").trials  # doctest: +SKIP
        60
    """
    asked = SearchSettings.of({**settings, "study_name": study, "resume": True})
    evaluator = embedded_evaluator() if evaluator is None else evaluator
    progress = progress or SearchProgress()
    check_places(asked)
    with termination_interrupts():
        progress.on_phase("open")
        opened, problem = open_study(asked, evaluator)
        if opened.settings.sampler in ALONE:
            raise SearchError(
                f"study {opened.name}: its sampler, {opened.settings.sampler}, proposes one policy after the other; no"
                " other worker can help"
            )
        searcher = Searcher(evaluator, opened, problem, asked, progress, seed=int(time.time_ns() % 1_000_003))
        count = 0
        try:
            searcher.run()
            progress.on_phase("val")
            while searcher.runs.led:
                if searcher.runs.serve():
                    count += 1
                else:
                    time.sleep(_POLL)
            ended = searcher.runs.ended
        except (DataError, OSError) as error:
            raise SearchStopped(str(error), opened.name) from error
        except KeyboardInterrupt as error:
            raise SearchInterrupted(
                opened.name, searcher.tally.counted, opened.settings.trials, terminated=isinstance(error, Terminated)
            ) from error
        finally:
            searcher.close(done=False)
    return WorkerReport(opened.name, searcher.tally.counted, count, ended)
