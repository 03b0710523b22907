"""How a search tells how far it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotc.search.result import FrontRow


class SearchProgress:
    """Told how a search goes; does nothing itself."""

    def on_phase(self, name: str) -> None:
        """A phase begins: ``open``, ``uncompressed``, ``search``, ``val``, ``test``, ``worth`` or ``report``."""

    def on_worker(self, study: str, worker: str) -> None:
        """The study is made or found, and this process has a name in it."""

    def on_begin(self, trial: int, policy: str) -> None:
        """Samples begin to run for a trial: its number, and the policy in words."""

    def on_end(self, trial: int, outcome: str, values: Mapping[str, object]) -> None:
        """A trial is stored: ``ran``, ``raced``, ``refused`` or ``failed``, and what is to be known of it."""

    def on_policy(self, number: int, total: int) -> None:
        """The phase runs the policy of a number, counted from 1, of so many."""

    def on_trial(self, done: int, total: int, eta: float, front: Sequence[FrontRow]) -> None:
        """A trial ended: feasible ones done, asked for, seconds that are left by the pace so far, the running front."""

    def on_samples(self, done: int, total: int, below: str = "", *, eta: float | None = None) -> None:
        """Samples of the phase's present policy are done, and there are in all; arguments as of `Progress`."""

    def on_event(self, message: str) -> None:
        """Something worth a line: a trial failed, the space holds no more policies."""
