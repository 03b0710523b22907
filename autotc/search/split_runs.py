"""Runs of policies on whole splits, each once, by whichever worker comes first: a queue in the study's storage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from autotc.errors import DataError, one_line
from autotc.evaluate.base import Evaluator
from autotc.policy import UNCOMPRESSED, Policy
from autotc.progress import Progress
from autotc.results import Results
from autotc.search.deaths import WORK, Deaths
from autotc.search.errors import SearchError
from autotc.search.gathered import Gathered
from autotc.search.home import import_optuna
from autotc.search.interrupts import check_interrupts
from autotc.search.leases import Lease, Leases, Worker
from autotc.search.storage import Study
from autotc.vocabulary import Split

if TYPE_CHECKING:
    import optuna

SPLIT, LEAD, KEY, ERROR = "split", "lead", "key", "error"
"""Attributes of a run: its split, which is `LEAD` where it stands for the process that ends the study; policy and split
in one; what failed."""
_POLL = 0.5
"""Seconds between two looks at what others do."""
Make = Callable[[], Results]


class SplitRuns:
    """Results of policies on splits, run here or by another worker.

    Attributes:
        deaths: policies under which a process ended on a split.

    Args:
        study: whose policies run.
        evaluator: runs them.
        worker: this process.
        tell: told what cannot be run.
        watch: told how far a run is.
    """

    def __init__(
        self, study: Study, evaluator: Evaluator, worker: Worker, tell: Callable[[str], None], watch: Progress
    ) -> None:
        self.deaths = Deaths()
        self._study, self._evaluator, self._tell, self._watch = study, evaluator, tell, watch
        self._stored = study.split_runs()
        self._leases = Leases(self._stored, study.home, worker)
        self._gathered = Gathered(study.samples_file(UNCOMPRESSED).parent, tell)
        self._failed: set[str] = set()
        self._lead: Lease | None = None

    def lead(self) -> None:
        """Be the process that ends the study: others run what it asks for until it is done."""
        self._lead = self._leases.take(_trial("RUNNING", {SPLIT: LEAD}), lambda other: False)

    def close(self, *, done: bool) -> None:
        """Lead no more; ``done``: nothing more will be asked for."""
        if self._lead is not None:
            with suppress(SearchError):  # told already, by what ended the search
                self._lead.finish("COMPLETE", [1.0]) if done else self._lead.give_back()
        self._leases.close()
        self.gather()

    @property
    def led(self) -> bool:
        """Whether a process that ends the study is there."""
        return any(trial.user_attrs.get(SPLIT) == LEAD for trial in self._leases.others())

    @property
    def ended(self) -> bool:
        """Whether a process has brought the study to its end."""
        leads = [trial for trial in self._leases.trials() if trial.user_attrs.get(SPLIT) == LEAD]
        return bool(leads) and leads[-1].state.name == "COMPLETE"

    def file(self, policy: Policy, split: Split) -> Path:
        """Per-sample results of a policy on a split, in the study's folder."""
        settings, name = self._study.settings, policy.content_hash()
        if split == "search":
            uncompressed = self._study.folder / "uncompressed.samples.parquet"
            return self._study.samples_file(policy) if policy.stages else uncompressed
        limit = settings.val_limit if split == "val" else settings.test_limit
        return self._study.folder / split / f"{name}-{limit or 'all'}.samples.parquet"

    def known(self, policy: Policy, split: Split) -> Results | None:
        """Results that are kept; None where there are none, or they are damaged, which is told."""
        path = self.file(policy, split)
        if not self._study.samples.find(path):
            return None
        try:
            return self._gathered.load(path) if path == self._study.samples_file(policy) else Results.load(path)
        except DataError as error:
            self._tell(f"{error}; what it held runs again")
            return None

    def stored(self, number: int, policy: Policy, *, complete: bool) -> Results | None:
        """Results of a trial on the search split; what is gone runs again where the trial is ``complete``."""
        results = self.known(policy, "search")
        if results is None and complete:
            path = self._study.samples_file(policy)
            if not path.exists():
                self._tell(f"{path}: is gone; trial {number} runs again")
            limit = self._study.settings.search_limit
            results = self.once(
                policy, "search", lambda: self._evaluator.run(policy, "search", limit=limit), again=path.exists()
            )
        return results

    def gather(self) -> None:
        """Keep the results of many trials together, for the next process that reads them."""
        self._gathered.save()

    def once(self, policy: Policy, split: Split, make: Make, *, again: bool = False) -> Results:
        """Results that are kept, awaited from another worker, or made here; what ``make`` raises is raised.

        Args:
            policy, split: what runs on what.
            make: runs it.
            again: what is kept is not enough, and made anew.
        """
        while True:
            check_interrupts()
            found = None if again else self.known(policy, split)
            if found is not None:
                return found
            lease = self._taken(policy, split)
            if lease is not None:
                return self._made(lease, policy, split, make, again=again)
            time.sleep(_POLL)

    def results(self, policy: Policy, split: Split) -> Results | None:
        """Results of a policy on a split; None where it cannot be run, which is told by name."""
        found, name = self.known(policy, split), policy.label() or "uncompressed"
        if found is not None or _key(policy, split) in self._failed:
            return found
        if self._fatal(policy, split):
            return None
        try:
            return self.once(policy, split, self._runner(policy, split))
        except _CannotRunError as error:
            self._tell(f"{name}: left out on {split} ({error})")
            return None

    def _fatal(self, policy: Policy, split: Split) -> bool:
        """Whether processes have ended too often under a policy, which is told."""
        self._leases.others()  # those of workers that are gone are noted
        self.deaths.look(self._leases.trials())
        if not self.deaths.fatal(policy):
            return False
        name, times = policy.label() or "uncompressed", self.deaths.times(policy)
        self._tell(f"{name}: left out on {split}; the process ended {times} times while it ran")
        return True

    def spread(self, policies: Sequence[Policy], split: Split) -> None:
        """Have all workers run policies on a split; returns when each has run, or cannot be."""
        with self._study.home.errors():
            for policy in policies:
                if self.known(policy, split) is None:
                    request = _trial("WAITING", _attrs(policy, split))
                    self._study.home.patiently(partial(self._stored.add_trial, request))
        while self._requests():
            if not self.serve():
                time.sleep(_POLL)

    def serve(self) -> bool:
        """Run one of the policies that the search asks for; False where each runs already, or none is asked for."""
        running = {_key_of(trial) for trial in self._leases.others()}
        for request in self._requests():
            if _key_of(request) in running:
                continue
            split: Split = request.user_attrs[SPLIT]
            policy = Policy.from_yaml(request.user_attrs[WORK], f"run {request.number}")
            done = self.known(policy, split) is not None
            if not done and not self._fatal(policy, split):
                lease = self._taken(policy, split)
                if lease is None:
                    continue
                done = self._can_run(lease, policy, split)
            self._leases.answer(request, done=done)
            return True
        return False

    def _can_run(self, lease: Lease, policy: Policy, split: Split) -> bool:
        """Run a policy and keep its results; False where it cannot be run, which is told by name."""
        try:
            self._made(lease, policy, split, self._runner(policy, split))
        except _CannotRunError as error:
            self._tell(f"{policy.label() or 'uncompressed'}: left out on {split} ({error})")
            return False
        return True

    def _requests(self) -> list[optuna.trial.FrozenTrial]:
        """Runs that the search asks for, and that nobody has finished."""
        return [trial for trial in self._leases.trials() if trial.state.name == "WAITING"]

    def _runner(self, policy: Policy, split: Split) -> Make:
        """What runs a policy; whatever a mechanism raises becomes `_CannotRunError`."""
        settings = self._study.settings
        limits = {"search": settings.search_limit, "val": settings.val_limit, "test": settings.test_limit}

        def run() -> Results:
            try:
                return self._evaluator.run(policy, split, limit=limits[split], progress=self._watch)
            except (Exception, SystemExit) as error:
                self._failed.add(_key(policy, split))
                raise _CannotRunError(one_line(f"{type(error).__name__}: {error}", 160)) from error

        return run

    def _taken(self, policy: Policy, split: Split) -> Lease | None:
        """A lease of a run; None where another worker has it."""
        key = _key(policy, split)
        if any(_key_of(trial) == key for trial in self._leases.others()):
            return None
        return self._leases.take(_trial("RUNNING", _attrs(policy, split)), lambda other: _key_of(other) == key)

    def _made(self, lease: Lease, policy: Policy, split: Split, make: Make, *, again: bool = False) -> Results:
        """Results as they are made, kept before the lease ends; or those that another worker has made by now."""
        try:
            found = None if again else self.known(policy, split)
            if found is not None:
                lease.drop()
                return found
            results = make()
            self._study.samples.save(results, self.file(policy, split))
        except _CannotRunError as error:
            lease.finish("FAIL", None, {ERROR: str(error)})
            raise
        except BaseException:
            lease.give_back()
            raise
        lease.finish("COMPLETE", [results.mean()])
        return results


class _CannotRunError(Exception):
    """A policy raised on a split."""


def _attrs(policy: Policy, split: Split) -> dict[str, str]:
    """Attributes of a run."""
    return {WORK: policy.to_yaml(), SPLIT: split, KEY: _key(policy, split)}


def _trial(state: str, attrs: dict[str, str]) -> optuna.trial.FrozenTrial:
    package = import_optuna()
    made: optuna.trial.FrozenTrial = package.trial.create_trial(
        state=getattr(package.trial.TrialState, state), user_attrs=attrs
    )
    return made


def _key(policy: Policy, split: str) -> str:
    return f"{policy.content_hash()} {split}"


def _key_of(trial: optuna.trial.FrozenTrial) -> str:
    """The key of a stored run; empty where it is none."""
    key: str = trial.user_attrs.get(KEY, "")
    return key
