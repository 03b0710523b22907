"""What an evaluator is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

from autotc.depths import Depths
from autotc.latency import LatencyModel
from autotc.policy import ModelReference, Policy
from autotc.progress import Progress
from autotc.results import Results, SplitCost, SplitInfo
from autotc.vocabulary import Split


class Evaluator(ABC):
    """Runs policies on splits of one data set with one model.

    Attributes:
        name: ``builtin``, ``jsonl`` or ``lmms``.
        seed: of the splits.
        model: architecture and fingerprint of the model.
        depths: how many layers its decoder and towers have.
        modalities: modalities its samples hold.
        latency: predicts prefill times for `cost`; None leaves them out.
    """

    name: str
    seed: int
    model: ModelReference
    depths: Depths
    modalities: tuple[str, ...]
    latency: LatencyModel | None = None

    @abstractmethod
    def info(self, split: Split) -> SplitInfo:
        """Samples, hash and chance levels of a split."""

    @abstractmethod
    def cost(self, policy: Policy, split: Split, *, groups: Collection[str] | None = None) -> SplitCost:
        """Analytic cost of a policy on a split, or on some of its modality groups.

        Nothing runs, unless the policy sets its own counts.

        Raises:
            PolicyError: the policy does not fit the model.
        """

    @abstractmethod
    def floors(self, split: Split) -> Mapping[tuple[str, str], float]:
        """(modality, location) -> lowest FLOPs ratio of that modality's samples that the location can reach."""

    def expect(self, split: Split, stops: Mapping[str, Sequence[int]]) -> None:
        """Told after how many samples of each modality group runs will stop, so that what is prepared of the samples
        for short runs serves the long ones as well. Does nothing itself.
        """
        return

    @abstractmethod
    def run(
        self,
        policy: Policy,
        split: Split,
        *,
        limit: int | None = None,
        groups: Collection[str] | None = None,
        progress: Progress | None = None,
    ) -> Results:
        """Evaluate a policy on the first ``limit`` samples of each modality group (None: all).

        Args:
            policy, split, limit: what runs on what.
            groups: modality groups to run; None for all.
            progress: called as samples are done.

        Raises:
            PolicyError: the policy does not fit the model.
            MechanismError: a mechanism failed; the message names it.
        """
