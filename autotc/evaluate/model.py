"""An evaluator that runs a Hugging Face model in this process."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch

from autotc.cost import Request, policy_floor
from autotc.errors import AutotcError, DataError, InputsError, NotFiniteError, one_line
from autotc.evaluate.answers import Answered, Answerer, ForcedAnswerer
from autotc.evaluate.base import ObservableEvaluator
from autotc.evaluate.batches import Batch, Batches
from autotc.evaluate.costs import Costed, RequestCosts
from autotc.evaluate.engines.answering import EngineAnswerer, MetricScorer, Scorer
from autotc.evaluate.engines.client import Client
from autotc.evaluate.identity import metric_identity
from autotc.evaluate.measures import exact
from autotc.evaluate.memory import out_of_memory, within_memory
from autotc.evaluate.metrics import Metric
from autotc.evaluate.phases import Phases
from autotc.evaluate.samples import Sample, grouped, named
from autotc.evaluate.towers import Towers, cache_of
from autotc.latency import LatencyModel
from autotc.models import bind, unwrap
from autotc.models.identity import model_stamp, processor_digest
from autotc.policy import UNCOMPRESSED, Policy
from autotc.progress import Progress
from autotc.results import Results, SampleResult, SplitCost, SplitInfo
from autotc.runtime import apply, configure
from autotc.runtime.processor import tracked
from autotc.runtime.steps import Observer
from autotc.stamp import Stamp
from autotc.timing import PrefillTimes, time_prefill
from autotc.vocabulary import MODALITIES, Group, Split

_RunKey = tuple[str, str, str]
"""Split, group, hash of the stages that touch the group."""


def stages_touching(policy: Policy, group: Group) -> Policy:
    """The policy's stages on the modalities of a group."""
    return Policy(stages=tuple(s for s in policy.stages if group.holds(s.modality)), model=policy.model)


class ModelEvaluator(ObservableEvaluator):
    """An evaluator that runs a model in this process; subclasses say which samples a split holds.

    Inputs are processed once per split and input stage. Results are kept per modality group and the stages that touch
    it, so that policies which share them share the work.

    Args:
        model, processor: as loaded by transformers.
        metric: how answers are scored.
        seed: of the splits.
        batch_size: samples of one forward.
        max_new_tokens: limit of `generate()`.

    Attributes:
        batches: what is prepared of the samples.
        scorer: of answers.
        towers: what is kept of the model's towers' outputs.

    Class attributes:
        wrong_token_decides: whether an answer is wrong, and known well enough, from the first token that is not the
            right answer's; else such answers are written out, since another spelling may be as right.
    """

    wrong_token_decides: ClassVar[bool] = False

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        metric: Metric = exact,
        seed: int = 0,
        batch_size: int = 32,
        max_new_tokens: int = 16,
    ) -> None:
        self._model, self.processor = unwrap(model).eval(), tracked(processor)
        self._bound = bind(model)
        self.seed = seed
        self.model = self._bound.reference
        self.depths = self._bound.depths
        self.locations = self._bound.offers
        self._timer = self.phases or Phases()
        self.answerer: Answerer = ForcedAnswerer(
            self._model,
            self.processor,
            metric,
            max_new_tokens=max_new_tokens,
            wrong_token_decides=self.wrong_token_decides,
        )
        self.towers = Towers(self._model, lambda: self._model_stamp, lambda: self.device, cache_of())
        self.batches = Batches(
            self._bound.adapter,
            self.processor,
            batch_size,
            by_answer=not self.wrong_token_decides,
            phases=self._timer,
            towers=self.towers,
        )
        self._costs = RequestCosts(self._bound)
        self._shapes: dict[tuple[str, str], Counter[Request]] = {}
        self._results: dict[_RunKey, list[SampleResult]] = {}
        self._measured_costs: dict[_RunKey, list[Costed]] = {}
        self.metric_identity = metric_identity(metric)
        self.scorer: Scorer = MetricScorer(metric, max_new_tokens)

    def serve_with(self, client: Client) -> None:
        """Have an engine answer in place of the model, of which only the configuration is needed then."""
        self.answerer, self.engine = EngineAnswerer(client, self.scorer), client.name
        self.batches.leave_to_engine()

    @property
    def loaded(self) -> Any:
        return self._model

    @property
    def device(self) -> torch.device:
        """Where requests go: the device of the first weights that are not on the disk."""
        return next((p.device for p in self._model.parameters() if p.device.type != "meta"), torch.device("cpu"))

    @cached_property
    def _model_stamp(self) -> Stamp:
        return model_stamp(self._model)

    # --- samples ---

    @abstractmethod
    def samples(self, split: Split) -> Sequence[Sample]:
        """All samples of a split, in a fixed order."""

    def _groups(self, split: Split) -> dict[Group, list[Sample]]:
        return grouped(self.samples(split))

    def info(self, split: Split) -> SplitInfo:
        samples = self.samples(split)
        digest = hashlib.sha256()
        answers: dict[str, Counter[str]] = {}
        for sample in samples:
            digest.update(f"{sample.id}\0{sample.prompt}\0{sample.answer}\n".encode())
            if more := sample.further():
                digest.update(f"{more}\n".encode())
            answers.setdefault(sample.task, Counter())[sample.answer] += 1
        chance = {task: max(counts.values()) / counts.total() for task, counts in answers.items()}
        groups: dict[str, int] = {name: len(members) for name, members in self._groups(split).items()}
        return SplitInfo(groups, digest.hexdigest()[:32], chance)

    def stamp(self, split: Split) -> Stamp:
        data = super().stamp(split)
        return self._model_stamp.model_copy(
            update={
                "attention": self.engine or self._model_stamp.attention,
                "processor": processor_digest(self.processor),
                "evaluator": data.evaluator,
                "metric": self.metric_identity,
                "samples": data.samples,
                "media": self.media_digest(split),
                "split": data.split,
            }
        )

    def media_digest(self, split: Split) -> str | None:
        """Hash of the files that a split's samples name; None where they name none."""
        return None

    def check_media(self, splits: Sequence[Split], progress: Progress | None = None) -> None:
        groups = [(split, group, len(members)) for split in splits for group, members in self._groups(split).items()]
        total, done = sum(size for *_, size in groups), 0
        for split, group, size in groups:
            self._request_shapes(split, group)  # which costs need as well, and are kept for
            done += size
            if progress is not None:
                progress(done, total)

    def announce_stops(self, split: Split, stops: Mapping[str, Sequence[int]]) -> None:
        self.batches.announce(split, stops)

    def prepared(self, policy: Policy, split: Split, group: str, stop: int, start: int = 0) -> list[Batch]:
        """Batches of a group's samples from ``start`` to ``stop``, the policy's input stages done."""
        return self.batches.prepared(split, group, self._groups(split)[Group(group)], policy, (start, stop))

    def request(self, policy: Policy, split: Split, group: str, samples: int) -> Any:
        groups = self._groups(split)
        if group not in groups:
            raise DataError(f"{group}: the data holds no such modality; it holds {', '.join(groups)}")
        call = configure(self.processor, policy)
        return self.batches.inputs(groups[Group(group)][:samples], call).to(self.device)

    # --- cost ---

    def shape_key(self, sample: Sample) -> Hashable | None:
        """Samples with equal keys have requests of equal shape; None where that is not known beforehand."""
        return None

    def _request_shapes(self, split: Split, group: str) -> Counter[Request]:
        """Shapes of a group's requests with how often each occurs."""
        if (split, group) not in self._shapes:
            self._shapes[split, group] = self._count_shapes(split, Group(group))
        return self._shapes[split, group]

    def _count_shapes(self, split: Split, group: Group) -> Counter[Request]:
        shapes: Counter[Request] = Counter()
        known: dict[Hashable, Request] = {}
        for sample in self._groups(split)[group]:
            key = self.shape_key(sample)
            if key is None or key not in known:
                (request,) = self._shapes_of([sample])
                if key is not None:
                    known[key] = request
            else:
                request = known[key]
            shapes[request] += 1
        return shapes

    def _shapes_of(self, samples: Sequence[Sample]) -> list[Request]:
        """Shapes of samples' uncompressed requests.

        Raises:
            DataError: the processor does not take a sample, or leaves too little of it.
        """
        inputs = self.batches.inputs(samples, self.processor)
        try:
            return self._costs.shapes(inputs)
        except InputsError as error:
            raise DataError(f"{samples[0].named}: {error}; mend it or leave it out") from error

    def _group_costs(self, policy: Policy, split: Split, group: str) -> list[Costed]:
        """A group's requests and what they cost."""
        touching = stages_touching(policy, Group(group))
        if not touching.adaptive:
            shapes = self._request_shapes(split, group)
            return [Costed(request, times, self._costs.cost(policy, request)) for request, times in shapes.items()]
        # A rule that sets its own count is measured: it runs, and what it left is what is charged.
        self.run(touching, split, groups=[group])
        return self._measured_costs[split, group, touching.content_hash()]

    def cost(
        self,
        policy: Policy,
        split: Split,
        *,
        groups: Collection[str] | None = None,
        latency: LatencyModel | None = None,
    ) -> SplitCost:
        self._bound.validate(policy)
        names = self._groups(split) if groups is None else groups
        return self._costs.total({name: self._group_costs(policy, split, name) for name in names}, latency)

    def floors(self, split: Split) -> Mapping[tuple[str, str], float]:
        out: dict[tuple[str, str], float] = {}
        groups = self._groups(split)
        for modality in MODALITIES:
            # Samples of the modality alone, or the first that hold it beside others.
            holding = [group for group in groups if group.holds(modality)]
            if not holding:
                continue
            requests = self._request_shapes(split, modality if modality in groups else holding[0])
            for location in self.locations[modality]:
                out[modality, location] = policy_floor(self._bound, modality, location, requests)
        return out

    # --- running ---

    def run(
        self,
        policy: Policy,
        split: Split,
        *,
        limit: int | None = None,
        groups: Collection[str] | None = None,
        progress: Progress | None = None,
    ) -> Results:
        self._bound.validate(policy)
        wanted = {g: m for g, m in self._groups(split).items() if groups is None or g in groups}
        stops = {group: len(m) if limit is None else min(limit, len(m)) for group, m in wanted.items()}
        total, done = sum(stops.values()), 0
        out: list[SampleResult] = []
        for group, stop in stops.items():
            touching = self._run_as(policy, group)
            known = self._results.setdefault((split, group, touching.content_hash()), [])
            if len(known) < stop:
                # What an earlier call has run is not run again: a race goes on where it stopped.
                self._go_on(touching, split, group, stop, (progress, done, total))
            out += known[:stop]
            done += stop
        return Results(tuple(out))

    def _run_as(self, policy: Policy, group: Group) -> Policy:
        """What a group's samples run under: the stages that touch it, unless an engine serves the whole policy."""
        return policy if self.engine is not None else stages_touching(policy, group)

    def _go_on(
        self, policy: Policy, split: Split, group: Group, stop: int, report: tuple[Progress | None, int, int]
    ) -> None:
        """Run the samples of a group that follow those that are known, up to ``stop``, and keep their results.

        Args:
            policy: its stages that touch the group.
            split, group: of the samples.
            stop: one past the last rank.
            report: progress, with the samples done in other groups and in all.
        """
        progress, done, total = report
        key = (split, group, policy.content_hash())
        known = self._results[key]
        ranked: dict[int, SampleResult] = {}
        costs: list[Costed] = []
        for batch in self.prepared(policy, split, group, stop, len(known)):
            results = self.run_batch(policy, batch, costs)
            ranked.update(zip(batch.ranks, results, strict=True))
            if progress is not None:
                progress(done + len(known) + len(ranked), total)
        known += [ranked[rank] for rank in sorted(ranked)]
        self._measured_costs.setdefault(key, []).extend(costs)

    def run_batch(self, policy: Policy, batch: Batch, costs: list[Costed]) -> list[SampleResult]:
        """Results of a batch; of an adaptive policy, what each sample cost is added to ``costs``."""
        call = configure(self.processor, policy)
        return within_memory(
            lambda part: self._run(policy, part, costs), batch, lambda samples: self.batches.inputs(samples, call)
        )

    def _run(self, policy: Policy, batch: Batch, costs: list[Costed]) -> list[SampleResult]:
        answered = self._answered(policy, batch)
        if not all(answered.finite):
            raise self._not_finite(policy, batch, answered.finite)
        if policy.adaptive:
            unchanged = configure(self.processor, policy) is self.processor
            inputs = batch.inputs if unchanged else self.batches.inputs(batch.samples, self.processor)
            costs += self._costs.measured(policy, inputs, batch.inputs, answered.stats)
        return answered.results

    def _answered(self, policy: Policy, batch: Batch) -> Answered:
        """What comes of a batch; what the bare model does not take is told by the sample.

        Raises:
            DataError: the model, without a policy, fails on a sample that its processor took.
        """
        try:
            return self.answerer.answer(policy, batch, self.device)
        except (InputsError, ValueError, IndexError, KeyError, TypeError, RuntimeError) as error:
            if policy.stages or out_of_memory(error):
                raise
            raise self._refusal(batch, error) from error

    def _refusal(self, batch: Batch, error: Exception) -> DataError:
        """What to say of samples that the model does not take: the first that it does not take alone, and why."""
        culprit = batch.samples[0]
        for sample in batch.samples if len(batch.samples) > 1 else ():
            inputs = self.batches.inputs([sample], self.processor)
            try:
                self.answerer.answer(UNCOMPRESSED, Batch((sample,), (0,), inputs), self.device)
            except Exception as alone:
                culprit, error = sample, alone
                break
        reason = f"{type(error).__name__}: {one_line(error, 140)}"
        return DataError(f"{culprit.named}: the model does not take it ({reason}); mend it or leave it out")

    def _not_finite(self, policy: Policy, batch: Batch, finite: Sequence[bool]) -> AutotcError:
        """What to raise of a batch some of whose logits are not finite: whose fault it is, and what to do."""
        bad = [sample for sample, good in zip(batch.samples, finite, strict=True) if not good]
        told = f"{len(bad)} of {len(batch.samples)} samples gave logits that are not finite ({named(bad)})"
        if policy.stages:
            inputs = self.batches.inputs(bad, self.processor)
            bare = self.answerer.answer(UNCOMPRESSED, Batch(tuple(bad), tuple(range(len(bad))), inputs), self.device)
            if all(bare.finite):
                return NotFiniteError(f"{policy.label()}: {told}, where the uncompressed model's are finite")
        dtype = str(next(self._model.parameters()).dtype).removeprefix("torch.")
        hint = f"the weights may be damaged (dtype {dtype}); see also --dtype"
        hint = "try --dtype bfloat16" if dtype == "float16" else hint
        return DataError(f"{told} without a policy: {hint}")

    def forget(self, policy: Policy) -> None:
        for split, group, hash_ in list(self._results):
            touching = self._run_as(policy, Group(group))
            if touching.stages and hash_ == touching.content_hash():
                del self._results[split, group, hash_]
                self._measured_costs.pop((split, group, hash_), None)

    @torch.inference_mode()
    def observe(self, policy: Policy, split: Split, group: str, samples: int, observer: Observer) -> None:
        device = self.device
        call = configure(self.processor, policy)
        for sample in self._groups(split)[Group(group)][:samples]:
            with apply(self._model, policy, observer):
                self._model(**self.batches.inputs([sample], call).to(device), use_cache=False)

    def time_prefill(
        self, policy: Policy, split: Split, group: str, *, samples: int = 8, repeats: int = 3
    ) -> PrefillTimes:
        inputs, baseline = (self.request(p, split, group, samples) for p in (policy, UNCOMPRESSED))
        return time_prefill(self._model, policy, inputs, baseline, repeats)
