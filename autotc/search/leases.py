"""Leases: what is being run, by whom, and whether that one is still there. A lease is a running trial of Optuna's.

A worker takes work by storing a running trial with its name. A thread of its own counts a number of that trial up while
the work goes on. Who sees that number stand still for long, by its own clock of steady steps, gives the work back; so
no two machines' clocks are ever compared. On one machine the end of a process is seen at once.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from autotc.errors import AutotcError
from autotc.search.home import Home, import_optuna

if TYPE_CHECKING:
    import optuna

LEASE, BEAT, LOST = "lease", "beat", "lost"
"""Attributes of a trial: who has it; a number that grows while it does; why nothing came of it."""
DIED, GIVEN_BACK, TAKEN = "its worker died", "given back", "another worker has it"
"""Why nothing came of a trial."""
_EVERY, _GRACE = 10.0, 120.0
"""Seconds between two beats, and without any after which a worker counts as gone."""

Clash = Callable[["optuna.trial.FrozenTrial"], bool]
"""Whether a running trial of another worker is the same work as one's own."""


@dataclass(frozen=True)
class Worker:
    """A process that runs policies.

    Attributes:
        name: of its own, for logs.
        host: where it runs, for logs.
        pid: of the process.
        machine: what tells processes of one machine from those of another; empty where the system does not say.
        began: when the process began, by the machine's own count; tells it from a later one of the same number.
    """

    name: str
    host: str
    pid: int
    machine: str
    began: str

    @classmethod
    def here(cls) -> Worker:
        """This process."""
        pid, host = os.getpid(), socket.gethostname()
        return cls(f"{host}-{pid}-{uuid.uuid4().hex[:6]}", host, pid, _machine(), _began(pid))

    @property
    def gone(self) -> bool:
        """Whether it certainly runs no more; False where it may, or where it cannot be seen from here."""
        return bool(self.machine) and self.machine == _machine() and _began(self.pid) != self.began

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _machine() -> str:
    """Boot and name space of the system's processes: numbers of processes mean something only there."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _began(pid: int) -> str:
    """When a process began, in ticks since the system's start; empty where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state == "Z" else fields[18]


def worker_of(trial: optuna.trial.FrozenTrial) -> Worker | None:
    """Who has, or had, a trial; None where it was not taken with a lease of this version."""
    kept = trial.user_attrs.get(LEASE)
    try:
        return None if kept is None else Worker(**{key: value for key, value in kept.items() if key != "token"})
    except TypeError:
        return None


class Lease:
    """A piece of work that this process has.

    Attributes:
        number: of its trial.
    """

    def __init__(self, leases: Leases, trial_id: int, number: int) -> None:
        self._leases, self._id, self.number = leases, trial_id, number

    def finish(self, state: str, values: list[float] | None = None, attrs: Mapping[str, object] | None = None) -> bool:
        """Store what came of it; False where it was given to another worker meanwhile, and nothing was stored."""
        return self._leases.finish(self._id, state, values, attrs or {})

    def drop(self) -> None:
        """Give it up, since another worker has done it."""
        self._leases.finish(self._id, "FAIL", None, {LOST: TAKEN})

    def give_back(self) -> None:
        """Have it run again, by whoever comes first. Where the storage does not answer, others find out by the beat."""
        with suppress(AutotcError):
            self._leases.finish(self._id, "FAIL", None, {LOST: GIVEN_BACK})


class AdoptedLease(Lease):
    """A trial that Optuna has made, and whose end Optuna stores: here it gets attributes alone."""

    def settle(self, attrs: Mapping[str, object], clashes: Clash) -> bool:
        """Give it work; False where another worker took the same first, and other work is to be given.

        Args:
            attrs: what the work is.
            clashes: as of `Leases.take`.

        Raises:
            SearchError: the storage cannot be written.
        """
        self._leases.mark(self._id, attrs)
        return not any(clashes(other) for other in self._leases.others() if other.number < self.number)

    def finish(self, state: str, values: list[float] | None = None, attrs: Mapping[str, object] | None = None) -> bool:
        self._leases.mark(self._id, attrs or {})
        return True

    def drop(self) -> None:
        self._leases.mark(self._id, {LOST: TAKEN})

    def give_back(self) -> None:
        self._leases.mark(self._id, {LOST: GIVEN_BACK})

    def release(self, lost: str | None = None) -> None:
        """Count up no more; ``lost``: why nothing came of it."""
        if lost is not None:
            self._leases.mark(self._id, {LOST: lost})
        self._leases.release(self._id)


class Leases:
    """Leases of this process in one study, and what is known of others'.

    Args:
        stored: the study.
        home: whose storage holds it.
        worker: this process.
        every: seconds between two beats.
        grace: seconds without a beat after which another worker counts as gone.
    """

    def __init__(
        self, stored: optuna.Study, home: Home, worker: Worker, *, every: float = _EVERY, grace: float = _GRACE
    ) -> None:
        self.worker = worker
        self._stored, self._home, self._every, self._grace = stored, home, every, grace
        self._held: set[int] = set()
        self._beats: dict[int, tuple[int, float]] = {}
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, trial: optuna.trial.FrozenTrial, clashes: Clash) -> Lease | None:
        """Take work; None where another worker took the same first.

        Args:
            trial: to store, in the state ``RUNNING``.
            clashes: whether a trial that another worker runs is the same work.

        Raises:
            SearchError: the storage cannot be written.
        """
        token = uuid.uuid4().hex
        trial.user_attrs[LEASE] = self._name(token)
        with self._home.errors():
            tries = iter(range(100))
            mine = self._home.patiently(lambda: self._store(trial, token, again=next(tries) > 0))
            lease = Lease(self, mine._trial_id, mine.number)
            self._hold(mine._trial_id)
            # Of two that take the same at once, the later one sees the earlier, since a storage numbers one after the
            # other. What has ended in between, the caller has to look for: its results are kept by now.
            if any(clashes(other) for other in self.others() if other.number < mine.number):
                lease.drop()
                return None
        return lease

    def adopt(self, trial: optuna.trial.FrozenTrial) -> AdoptedLease:
        """Be the worker of a running trial that Optuna has made.

        Raises:
            SearchError: the storage cannot be written.
        """
        self.mark(trial._trial_id, {LEASE: self._name(uuid.uuid4().hex)})
        self._hold(trial._trial_id)
        return AdoptedLease(self, trial._trial_id, trial.number)

    def mark(self, trial_id: int, attrs: Mapping[str, object]) -> None:
        """Store attributes of a trial that runs.

        Raises:
            SearchError: the storage cannot be written.
        """
        for key, value in attrs.items():
            with self._home.errors():
                self._home.patiently(partial(self._stored._storage.set_trial_user_attr, trial_id, key, value))

    def release(self, trial_id: int) -> None:
        """Count up no more for a trial, which somebody else ends."""
        self._held.discard(trial_id)

    def _name(self, token: str) -> dict[str, object]:
        return {**asdict(self.worker), "token": token}

    def _store(self, trial: optuna.trial.FrozenTrial, token: str, *, again: bool) -> optuna.trial.FrozenTrial:
        """Store a trial; ``again``: unless that was done before the connection was lost."""
        storage, study = self._stored._storage, self._stored._study_id
        for known in reversed(self.trials() if again else []):
            if known.user_attrs.get(LEASE, {}).get("token") == token:
                return known
        return storage.get_trial(storage.create_new_trial(study, template_trial=trial))

    def finish(self, trial_id: int, state: str, values: list[float] | None, attrs: Mapping[str, object]) -> bool:
        """See `Lease.finish`."""
        optuna = import_optuna()
        storage, ended = self._stored._storage, getattr(optuna.trial.TrialState, state)
        tries = iter(range(100))

        def store() -> bool:
            again = next(tries) > 0
            try:
                for key, value in attrs.items():
                    storage.set_trial_user_attr(trial_id, key, value)
                storage.set_trial_state_values(trial_id, ended, values)
            except optuna.exceptions.UpdateFinishedTrialError:
                # Stored before the connection was lost, or taken by another worker meanwhile.
                return again and storage.get_trial(trial_id).state == ended
            return True

        self._held.discard(trial_id)
        with self._home.errors():
            return self._home.patiently(store)

    def answer(self, request: optuna.trial.FrozenTrial, *, done: bool) -> None:
        """End a trial that waits, and asks for work; ``done``: it has been done."""
        self.finish(request._trial_id, "COMPLETE" if done else "FAIL", [1.0] if done else None, {})

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Trials of the study, in order, as they are stored now.

        Raises:
            SearchError: the storage cannot be read.
        """
        with self._home.errors():
            return self._home.patiently(lambda: self._stored.get_trials(deepcopy=False))

    def others(self) -> list[optuna.trial.FrozenTrial]:
        """Trials that other workers run. Those of workers that are gone are failed first, and are not among them."""
        found = []
        for trial in self.trials():
            if trial.state.name != "RUNNING" or trial._trial_id in self._held:
                continue
            if self._is_alive(trial):
                found.append(trial)
            else:
                self.finish(trial._trial_id, "FAIL", None, {LOST: DIED})
        return found

    def _is_alive(self, trial: optuna.trial.FrozenTrial) -> bool:
        worker = worker_of(trial)
        if worker is not None and worker.gone:
            return False
        beat, now = int(trial.user_attrs.get(BEAT, 0)), time.monotonic()
        before, since = self._beats.get(trial._trial_id, (None, now))
        if beat != before:
            self._beats[trial._trial_id] = (beat, now)
            return True
        return now - since < self._grace

    def _hold(self, trial_id: int) -> None:
        self._held.add(trial_id)
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="autotc-leases", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        """Count the number of each lease up, until the process ends or `close` is called."""
        beat = 0
        while not self._wake.wait(self._every):
            beat += 1
            for trial_id in list(self._held):
                # What is wrong with the storage, the worker's own thread tells; a trial may have ended meanwhile.
                with suppress(Exception):
                    self._stored._storage.set_trial_user_attr(trial_id, BEAT, beat)

    def close(self) -> None:
        """Beat no more."""
        self._wake.set()
