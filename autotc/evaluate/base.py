"""What an evaluator is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autotc.depths import Depths
from autotc.evaluate.phases import Phases
from autotc.evaluate.samples import Sample
from autotc.latency import LatencyModel
from autotc.policy import ModelReference, Policy
from autotc.progress import Progress
from autotc.results import Results, SplitCost, SplitInfo
from autotc.stamp import Stamp
from autotc.vocabulary import Location, Modality, Split

if TYPE_CHECKING:
    from autotc.runtime.steps import Observer
    from autotc.timing import PrefillTimes


class Evaluator(ABC):
    """Runs policies on splits of one data set with one model.

    Attributes:
        name: ``builtin``, ``jsonl`` or ``lmms``.
        seed: of the splits.
        model: architecture and fingerprint of the model.
        depths: how many layers its decoder and towers have.
        modalities: modalities its samples hold.
        phases: where its time went; None where it does not keep count.
        engine: what answers in place of transformers; None where nothing does.
    """

    name: str
    seed: int
    model: ModelReference
    depths: Depths
    modalities: tuple[str, ...]
    phases: Phases | None = None
    engine: str | None = None

    @abstractmethod
    def info(self, split: Split) -> SplitInfo:
        """Samples, hash and chance levels of a split."""

    @abstractmethod
    def cost(
        self,
        policy: Policy,
        split: Split,
        *,
        groups: Collection[str] | None = None,
        latency: LatencyModel | None = None,
    ) -> SplitCost:
        """Analytic cost of a policy on a split. Nothing runs, unless the policy sets its own counts.

        Args:
            policy, split: what costs on what.
            groups: modality groups to count; None for all.
            latency: predicts prefill times; None leaves them out.

        Raises:
            PolicyError: the policy does not fit the model.
            LatencyError: the policy has a mechanism at a place that the latency model was not calibrated for.
        """

    @abstractmethod
    def floors(self, split: Split) -> Mapping[tuple[str, str], float]:
        """(modality, location) -> lowest FLOPs ratio of that modality's samples that the location can reach."""

    def stamp(self, split: Split) -> Stamp:
        """What results on a split depend on, for the same policy: whoever keeps results keeps it beside them.

        Evaluators whose model runs here add its weights, dtype and attention, the metric and the media.
        """
        return Stamp(
            architecture=self.model.architecture,
            fingerprint=self.model.fingerprint,
            evaluator=self.name,
            samples=self.info(split).sha256,
            split=f"{split}, seed {self.seed}",
        )

    def check_media(self, splits: Sequence[Split], progress: Progress | None = None) -> None:
        """Read and prepare every sample of some splits once, before a long run would find out. Does nothing itself.

        Args:
            splits: to look at.
            progress: called as samples are done.

        Raises:
            DataError: a medium cannot be read, or the model's processor does not take a sample.
        """
        return

    def announce_stops(self, split: Split, stops: Mapping[str, Sequence[int]]) -> None:
        """Take note of where later runs will stop, so that what is prepared for short runs serves the long ones too.

        Does nothing itself.

        Args:
            split: of the runs.
            stops: modality group -> numbers of its samples.
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

    def untouched(self, policy: Policy, split: Split) -> dict[str, str] | None:
        """Task -> modality group, of tasks that the user chose whose samples the policy leaves as they are.

        None where there are no tasks to choose.
        """
        return None

    def observable(self) -> ObservableEvaluator | None:
        """The evaluator itself where its model can be watched as it runs, else None."""
        return None


class ObservableEvaluator(Evaluator):
    """An evaluator whose model runs in this process and can be watched.

    Attributes:
        locations: where stages can act on each modality that the model takes.
    """

    locations: Mapping[Modality, tuple[Location, ...]]

    def observable(self) -> ObservableEvaluator:
        return self

    @property
    @abstractmethod
    def loaded(self) -> Any:
        """The model that runs."""

    @abstractmethod
    def samples(self, split: Split) -> Sequence[Sample]:
        """All samples of a split, in a fixed order."""

    @abstractmethod
    def observe(self, policy: Policy, split: Split, group: str, samples: int, observer: Observer) -> None:
        """Prefill a group's first samples one by one under a policy.

        Args:
            policy, split, group, samples: what runs on what.
            observer: told what each stage sees.
        """

    @abstractmethod
    def request(self, policy: Policy, split: Split, group: str, samples: int) -> Any:
        """Inputs of the group's first samples as one batch on the model's device, input stages done.

        Raises:
            DataError: the data holds no such group.
        """

    @abstractmethod
    def time_prefill(
        self, policy: Policy, split: Split, group: str, *, samples: int = 8, repeats: int = 3
    ) -> PrefillTimes:
        """Prefill of a group's first samples as one batch, inputs prepared, under a policy and without it.

        Args:
            policy: to time.
            split, group: whose samples.
            samples: of the batch.
            repeats: pairs that count.
        """

    @abstractmethod
    def forget(self, policy: Policy) -> None:
        """Drop what is kept of a policy's results where it has stages; a later run starts anew."""
