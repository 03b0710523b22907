"""Run a model on samples: one prefill under the policy, the right answer forced through its cache, and, where that
does not tell what `generate()` would say, that.
"""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from autotc.cost import Cost, Request, policy_floor, prefill_cost, request_shapes
from autotc.errors import DataError
from autotc.evaluate.base import Evaluator
from autotc.evaluate.decoding import branch, follow, greedy, is_plain, prefill
from autotc.models import Adapter, bind, find_adapter
from autotc.policy import UNCOMPRESSED, Policy
from autotc.progress import Progress
from autotc.results import Results, SampleResult, SplitCost, SplitInfo
from autotc.runtime import apply, configure
from autotc.runtime.features import cached_features
from autotc.runtime.processor import tracked
from autotc.runtime.steps import Observer, StageStats
from autotc.timing import PrefillTimes, time_prefill
from autotc.vocabulary import MODALITIES, Group, Split

_IMPOSSIBLE = -60.0
"""Log-probability of what has been counted with something else."""
_TEACHER_TOKENS = 64
"""Likeliest tokens of the uncompressed model that the divergence tells apart."""
Metric = Callable[[str, str], float]
"""Score in [0, 1] of what the model said against the right answer."""


def exact(said: str, answer: str) -> float:
    """1 when the two are equal up to white space and case."""
    return float(" ".join(said.split()).lower() == " ".join(answer.split()).lower())


@dataclass(frozen=True)
class Sample:
    """One question about some media.

    Attributes:
        id: unique within the data set.
        task: name of its task.
        group: modalities it needs, joined by ``+``.
        prompt, answer: text.
        media: loads its media: ``images``, ``videos``, ``audio`` -> list.
    """

    id: str
    task: str
    group: str
    prompt: str
    answer: str
    media: Callable[[], Mapping[str, list[Any]]] = field(compare=False)


_KEPT_BYTES = 4 * 10**9
"""Of samples prepared under input stages that are kept in memory."""


@dataclass(frozen=True)
class _Batch:
    """Samples processed together; ``ranks`` are their places in the group's order, ``features`` the towers' outputs."""

    samples: tuple[Sample, ...]
    ranks: tuple[int, ...]
    inputs: Any
    features: dict[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the inputs."""
        return sum(value.nbytes for value in self.inputs.values() if isinstance(value, Tensor))


@dataclass(frozen=True)
class _Teacher:
    """What the uncompressed model predicts at the positions of a right answer (P): its likeliest tokens and the rest.

    Attributes:
        tokens: (P, K) long.
        log_probability: (P, K + 1) float, of the tokens and, last, of all others together.
    """

    tokens: Tensor
    log_probability: Tensor

    @classmethod
    def of(cls, log_probability: Tensor) -> _Teacher:
        """From log-probabilities (P, vocabulary)."""
        tokens = log_probability.topk(min(_TEACHER_TOKENS, log_probability.shape[1] - 1), dim=1).indices
        return cls(tokens, _with_rest(log_probability, tokens))

    def divergence(self, log_probability: Tensor) -> float:
        """KL divergence of other log-probabilities (P, vocabulary) from these, mean over positions, in nats.

        All tokens but the teacher's likeliest count as one, so it is at most the divergence over the vocabulary.
        """
        mine, theirs = self.log_probability, _with_rest(log_probability, self.tokens)
        return float((mine.exp() * (mine - theirs)).sum(1).mean().clamp_min(0))


def _with_rest(log_probability: Tensor, tokens: Tensor) -> Tensor:
    some = log_probability.gather(1, tokens)
    rest = (1 - some.double().exp().sum(1, keepdim=True)).clamp_min(1e-9).log().float()
    return torch.cat([some, rest], 1)


def _touching(policy: Policy, group: str) -> Policy:
    """The policy's stages on the modalities of a group."""
    return Policy(stages=tuple(s for s in policy.stages if Group(group).holds(s.modality)), model=policy.model)


def process_inputs(
    adapter: Adapter,
    processor: Any,
    call: Callable[..., Any],
    texts: Sequence[str],
    media: Sequence[Mapping[str, list[Any]]],
) -> Any:
    """Inputs of one batch.

    Args:
        adapter: of the model.
        processor: of the checkpoint.
        call: that prepares inputs: the processor, or what `configure` made of it.
        texts: prompts with the chat template's placeholders.
        media: of each prompt: ``images``, ``videos``, ``audio`` -> list.
    """
    extra: dict[str, Any] = {}
    if any(mine.get("images") for mine in media):
        # A list for each prompt: some families tile an image that stands alone, and only that.
        extra["images"] = [list(mine.get("images", [])) for mine in media]
    for key in ("videos", "audio"):
        items = [item for mine in media for item in mine.get(key, [])]
        if items:
            extra[key] = items
    if "videos" in extra:
        extra["videos_kwargs"] = {"do_sample_frames": False, **adapter.video_settings(processor)}
    return call(text=list(texts), return_tensors="pt", padding=True, padding_side="left", **extra)


class ModelEvaluator(Evaluator):
    """An evaluator that runs a Hugging Face model in this process; subclasses say which samples a split holds.

    Inputs are processed once per split and input stage. Results are kept per modality group and the stages that touch
    it, so that policies which share them share the work.

    Args:
        model, processor: as loaded by transformers.
        metric: how answers are scored.
        seed: of the splits.
        batch_size: samples of one forward.
        max_new_tokens: limit of `generate()`.

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
        self._model, self._processor, self._metric = model.eval(), tracked(processor), metric
        self._adapter = find_adapter(model)
        self._batch_size, self._max_new_tokens = batch_size, max_new_tokens
        self.seed = seed
        self.model = bind(model).reference
        self.depths = self._adapter.depths(model.config)
        self.locations = self._adapter.offers(model.config)
        self._batches: dict[tuple[str, str, str, int, int], list[_Batch]] = {}
        self._stops: dict[tuple[str, str], set[int]] = {}
        self._shapes: dict[tuple[str, str], Counter[Request]] = {}
        self._results: dict[tuple[str, str, str], list[SampleResult]] = {}
        self._teacher: dict[str, _Teacher] = {}
        self._costs: dict[tuple[str, Request], Cost] = {}
        self._realised: dict[tuple[str, str, str], list[tuple[Request, Cost]]] = {}

    @property
    def loaded(self) -> Any:
        """The model that runs."""
        return self._model

    @property
    def _device(self) -> torch.device:
        """Where requests go: the device of the first weights that are not on the disk."""
        return next((p.device for p in self._model.parameters() if p.device.type != "meta"), torch.device("cpu"))

    @property
    def _ends(self) -> list[int]:
        """Ids that end an answer: the checkpoint's, which for chats may be others than the tokenizer's."""
        own = self._model.generation_config.eos_token_id
        ids = own if isinstance(own, list) else [own]
        return [int(i) for i in ids if i is not None] or [int(self._processor.tokenizer.eos_token_id)]

    @abstractmethod
    def samples(self, split: Split) -> Sequence[Sample]:
        """All samples of a split, in a fixed order."""

    def _groups(self, split: Split) -> dict[str, list[Sample]]:
        out: dict[str, list[Sample]] = {}
        for sample in self.samples(split):
            out.setdefault(sample.group, []).append(sample)
        return out

    def info(self, split: Split) -> SplitInfo:
        samples = self.samples(split)
        digest = hashlib.sha256()
        answers: dict[str, Counter[str]] = {}
        for sample in samples:
            digest.update(f"{sample.id}\0{sample.prompt}\0{sample.answer}\n".encode())
            answers.setdefault(sample.task, Counter())[sample.answer] += 1
        chance = {task: max(counts.values()) / counts.total() for task, counts in answers.items()}
        groups = {name: len(members) for name, members in self._groups(split).items()}
        return SplitInfo(groups, digest.hexdigest()[:32], chance)

    # --- inputs ---

    def _chat(self, sample: Sample, media: Mapping[str, list[Any]]) -> str:
        kinds = {"images": "image", "videos": "video", "audio": "audio"}
        content = [{"type": kinds[key]} for key, items in media.items() for _ in items]
        turn = [{"role": "user", "content": [*content, {"type": "text", "text": sample.prompt}]}]
        text: str = self._processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        # The tokenizer writes the start of a sequence itself where the template does too.
        start = getattr(self._processor.tokenizer, "bos_token", None)
        return text.removeprefix(start) if start and self._writes_start() else text

    def _writes_start(self) -> bool:
        """Whether the tokenizer puts a start of its own in front of a text."""
        tokenizer = self._processor.tokenizer
        ids = tokenizer("")["input_ids"]
        return bool(ids) and ids[0] == tokenizer.bos_token_id

    def _process(self, samples: Sequence[Sample], call: Any) -> Any:
        loaded = [sample.media() for sample in samples]
        texts = [self._chat(s, m) for s, m in zip(samples, loaded, strict=True)]
        return process_inputs(self._adapter, self._processor, call, texts, loaded)

    def expect(self, split: Split, stops: Mapping[str, Sequence[int]]) -> None:
        for group, counts in stops.items():
            self._stops.setdefault((split, group), set()).update(counts)

    def _prepared(self, split: Split, group: str, policy: Policy, stop: int, start: int = 0) -> list[_Batch]:
        """The group's samples from ``start`` to ``stop`` as batches, none across a stop that was announced."""
        within = sorted(n for n in self._stops.get((split, group), ()) if start < n < stop)
        ends = [start, *within, stop]
        inputs = Policy(stages=tuple(s for s in policy.stages if s.location == "input"))
        pieces = [self._piece(split, group, inputs, first, last) for first, last in pairwise(ends)]
        self._forget()
        return [batch for piece in pieces for batch in piece]

    def _piece(self, split: Split, group: str, inputs: Policy, start: int, stop: int) -> list[_Batch]:
        key = (split, group, inputs.content_hash(), start, stop)
        if key not in self._batches:
            call = configure(self._processor, inputs)
            members = list(enumerate(self._groups(split)[group]))[start:stop]
            parts: dict[Hashable, list[tuple[int, Sample]]] = {}
            for rank, sample in members:
                parts.setdefault(self._batch_key(sample), []).append((rank, sample))
            batches = []
            for _, part in sorted(parts.items(), key=lambda item: str(item[0])):
                count = -(-len(part) // self._batch_size)
                edges = [round(i * len(part) / count) for i in range(count + 1)]
                for first, last in pairwise(edges):
                    ranks, chosen = zip(*part[first:last], strict=True)
                    batches.append(_Batch(chosen, ranks, self._process(chosen, call)))
            self._batches[key] = batches
        return self._batches[key]

    def _forget(self) -> None:
        """Let go of the oldest prepared input stages, each of which has pixels of its own, down to a bound."""
        whole = UNCOMPRESSED.content_hash()
        sizes: dict[tuple[str, str, str], int] = {}
        for key, batches in self._batches.items():
            if key[2] != whole:
                # As old as its newest piece.
                sizes[key[:3]] = sizes.pop(key[:3], 0) + sum(batch.nbytes for batch in batches)
        for oldest in list(sizes)[:-1]:
            if sum(sizes.values()) <= _KEPT_BYTES:
                return
            del sizes[oldest]
            self._batches = {key: batches for key, batches in self._batches.items() if key[:3] != oldest}

    def _batch_key(self, sample: Sample) -> Hashable:
        """Samples of one batch have equal keys."""
        # Answers of several tokens are written out more often: batches of their own spare the others the decode steps.
        return not self.wrong_token_decides and self._answer_length(sample) > 1

    def _answer_length(self, sample: Sample) -> int:
        return len(self._processor.tokenizer(sample.answer, add_special_tokens=False)["input_ids"])

    # --- cost ---

    def _shape_key(self, sample: Sample) -> Hashable | None:
        """Samples with equal keys have requests of equal shape; None where that is not known beforehand."""
        return None

    def _all_requests(self, split: Split, group: str) -> Counter[Request]:
        """Shapes of a group's requests with how often each occurs."""
        if (split, group) not in self._shapes:
            shapes: Counter[Request] = Counter()
            known: dict[Hashable, Request] = {}
            for sample in self._groups(split)[group]:
                key = self._shape_key(sample)
                if key is None or key not in known:
                    (request,) = request_shapes(
                        self._adapter, self._model.config, self._process([sample], self._processor)
                    )
                    if key is not None:
                        known[key] = request
                else:
                    request = known[key]
                shapes[request] += 1
            self._shapes[split, group] = shapes
        return self._shapes[split, group]

    def _cost(self, policy: Policy, request: Request) -> Cost:
        key = (policy.content_hash(), request)
        if key not in self._costs:
            self._costs[key] = prefill_cost(self._adapter, self._model.config, policy, [request])
        return self._costs[key]

    def _group_costs(self, policy: Policy, split: Split, group: str) -> list[tuple[Request, int, Cost]]:
        """Shapes of a group's requests, how often each occurs, and what it costs."""
        mine = _touching(policy, group)
        if not mine.adaptive:
            shapes = self._all_requests(split, group)
            return [(request, times, self._cost(policy, request)) for request, times in shapes.items()]
        # A rule that sets its own count is measured: it runs, and what it left is what is charged.
        key = (split, group, mine.content_hash())
        self.run(mine, split, groups=[group])
        return [(request, 1, cost) for request, cost in self._realised[key]]

    def cost(self, policy: Policy, split: Split, *, groups: Collection[str] | None = None) -> SplitCost:
        bind(self._model).validate(policy)
        none = UNCOMPRESSED
        ratios, spent, base, scoring, count = {}, 0.0, 0.0, 0.0, 0
        kv = whole_kv = milliseconds = whole_milliseconds = 0.0
        tokens: Counter[str] = Counter()
        items: Counter[str] = Counter()
        inside: defaultdict[str, float] = defaultdict(float)
        whole_inside: defaultdict[str, float] = defaultdict(float)
        for group in self._groups(split) if groups is None else groups:
            mine = whole = 0.0
            for request, times, cost in self._group_costs(policy, split, group):
                plain = self._cost(none, request)
                mine += times * cost.total
                whole += times * plain.total
                scoring += times * cost.scoring
                kv += times * cost.kv_bytes
                whole_kv += times * plain.kv_bytes
                if self.latency is not None:
                    milliseconds += times * self.latency.of_cost(cost, [request])
                    whole_milliseconds += times * self.latency.of_cost(plain, [request])
                count += times
                for item in request.items:
                    items[item.modality] += times
                for name, n in cost.tokens.items():
                    tokens[name] += times * n
                    inside[name] += times * cost.lm_tokens[name]
                    whole_inside[name] += times * plain.lm_tokens[name]
            ratios[group] = mine / whole
            spent, base = spent + mine, base + whole
        return SplitCost(
            spent / base,
            ratios,
            spent / count,
            {name: tokens[name] / items[name] for name in items},
            {name: inside[name] / whole_inside[name] for name in items},
            kv / count,
            scoring / spent,
            kv / whole_kv,
            None if self.latency is None else milliseconds / count,
            None if self.latency is None else milliseconds / whole_milliseconds,
        )

    def floors(self, split: Split) -> Mapping[tuple[str, str], float]:
        out: dict[tuple[str, str], float] = {}
        groups = self._groups(split)
        for modality in MODALITIES:
            # Samples of the modality alone, or the first that hold it beside others.
            holding = [group for group in groups if Group(group).holds(modality)]
            if not holding:
                continue
            requests = self._all_requests(split, modality if modality in groups else holding[0])
            for location in self.locations[modality]:
                out[modality, location] = policy_floor(
                    self._adapter, self._model.config, modality, location, requests
                )  # fmt: skip
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
        bind(self._model).validate(policy)
        wanted = {g: m for g, m in self._groups(split).items() if groups is None or g in groups}
        total = sum(len(m) if limit is None else min(limit, len(m)) for m in wanted.values())
        done = 0
        out: list[SampleResult] = []
        for group, members in wanted.items():
            mine = _touching(policy, group)
            key = (split, group, mine.content_hash())
            stop = len(members) if limit is None else min(limit, len(members))
            known = self._results.setdefault(key, [])
            if len(known) < stop:
                # What an earlier call has run is not run again: a race goes on where it stopped.
                ranked: dict[int, SampleResult] = {}
                realised: list[tuple[Request, Cost]] = []
                for batch in self._prepared(split, group, mine, stop, len(known)):
                    ranked.update(zip(batch.ranks, self._run_batch(mine, batch, realised), strict=True))
                    if progress is not None:
                        progress(done + len(known) + len(ranked), total)
                known += [ranked[rank] for rank in sorted(ranked)]
                self._realised.setdefault(key, []).extend(realised)
            out += known[:stop]
            done += stop
        return Results(tuple(out))

    def forget(self, policy: Policy) -> None:
        """Drop what is kept of a policy's results where it has stages; a later run starts anew."""
        for split, group, hash_ in list(self._results):
            mine = _touching(policy, group)
            if mine.stages and hash_ == mine.content_hash():
                del self._results[split, group, hash_]
                self._realised.pop((split, group, hash_), None)

    @torch.inference_mode()
    def observe(self, policy: Policy, split: Split, group: str, samples: int, observer: Observer) -> None:
        """Prefill a group's first samples one by one under a policy that is watched."""
        device = self._device
        call = configure(self._processor, policy)
        for sample in self._groups(split)[group][:samples]:
            with apply(self._model, policy, observer):
                self._model(**self._process([sample], call).to(device), use_cache=False)

    def request(self, policy: Policy, split: Split, group: str, samples: int) -> Any:
        """Inputs of the group's first samples as one batch on the model's device, input stages done.

        Raises:
            DataError: the data holds no such group.
        """
        groups = self._groups(split)
        if group not in groups:
            raise DataError(f"{group}: the data holds no such modality; it holds {', '.join(groups)}")
        call = configure(self._processor, policy)
        return self._process(groups[group][:samples], call).to(self._device)

    def time_prefill(
        self, policy: Policy, split: Split, group: str, *, samples: int = 8, repeats: int = 3
    ) -> PrefillTimes:
        """Prefill of a group's first samples as one batch under a policy and without it, towers included, prepared.

        Args:
            policy: to time.
            split, group: whose samples.
            samples: of the batch.
            repeats: pairs that count.
        """
        inputs, baseline = (self.request(p, split, group, samples) for p in (policy, UNCOMPRESSED))
        return time_prefill(self._model, policy, inputs, baseline, repeats)

    @torch.inference_mode()
    def _run_batch(self, policy: Policy, batch: _Batch, realised: list[tuple[Request, Cost]]) -> list[SampleResult]:
        """Results of a batch; of an adaptive policy, each sample's shape and cost go to ``realised``."""
        tokenizer = self._processor.tokenizer
        answers = [tokenizer(s.answer, add_special_tokens=False)["input_ids"] for s in batch.samples]
        if any(not a for a in answers):
            raise DataError(f"{batch.samples[0].id}: an answer has no tokens; a non-empty answer is needed")
        # A copy: what is kept of all batches stays in the host's memory.
        inputs = type(batch.inputs)(dict(batch.inputs)).to(self._device)
        mask = inputs["attention_mask"]
        plain = is_plain(self._model.generation_config)
        rows: list[list[int]] = []
        with cached_features(self._model, inputs, policy, batch.features), apply(self._model, policy) as handle:
            prompt = prefill(self._model, inputs)
            # Where greedy decoding may have to go on from the prompt, the right answers get a cache of their own.
            forced = branch(prompt) if plain and not self.wrong_token_decides else prompt
            log_probability, said, divergence = self._forced(forced, mask, answers, batch.samples, policy)
            if forced is not prompt and None in said:
                rows = greedy(self._model, prompt, mask, self._ends, self._max_new_tokens)
        if policy.adaptive:
            realised += self._measured(policy, batch, handle.stats[0])
        if not plain or (None in said and not rows):
            with cached_features(self._model, inputs, policy, batch.features), apply(self._model, policy):
                ids = self._model.generate(**inputs, max_new_tokens=self._max_new_tokens, do_sample=False)
            rows = ids[:, inputs["input_ids"].shape[1] :].tolist()
            said = [text if plain else None for text in said]
        texts = [self._text(rows[i]) if text is None else text for i, text in enumerate(said)]
        return [
            SampleResult(s.id, s.task, s.group, self._metric(t, s.answer), t, p, d)
            for s, t, p, d in zip(batch.samples, texts, log_probability, divergence, strict=True)
        ]

    def _measured(self, policy: Policy, batch: _Batch, stats: Sequence[StageStats]) -> list[tuple[Request, Cost]]:
        """Shape and cost of each sample, from what each reduction was seen to leave."""
        before = configure(self._processor, policy) is self._processor
        inputs = batch.inputs if before else self._process(batch.samples, self._processor)
        out, passed = [], Counter[str]()
        whole = request_shapes(self._adapter, self._model.config, inputs)
        for request, now in zip(whole, request_shapes(self._adapter, self._model.config, batch.inputs), strict=True):
            mine = Counter(item.modality for item in now.items)
            seen = {}
            for stat in stats:
                modality = policy.stages[stat.stage].modality
                start = passed[modality]
                seen[stat.stage, stat.layer] = stat.realised[start : start + mine[modality]]
            passed.update(mine)
            cost = prefill_cost(self._adapter, self._model.config, policy, [request], realised=seen)
            out.append((request, cost))
        return out

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._processor.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _forced(
        self,
        prompt: Any,
        mask: Tensor,
        answers: Sequence[Sequence[int]],
        samples: Sequence[Sample],
        policy: Policy,
    ) -> tuple[list[float], list[str | None], list[float]]:
        """Each right answer's log-probability, what greedy decoding says where the answer tells, and divergence."""
        ends = self._ends
        end = ends[0]
        logits, targets = follow(self._model, prompt, mask, answers, end)
        best: list[list[int]] = logits.argmax(-1).tolist()
        if len(ends) > 1:  # any of them ends the answer
            logits[..., end] = logits[..., ends].logsumexp(-1)
            logits[..., [e for e in ends if e != end]] = _IMPOSSIBLE
        picked = logits.gather(2, targets[..., None])[..., 0]
        totals, said, divergence = [], [], []
        for i, answer in enumerate(answers):
            totals.append(float(picked[i, : len(answer) + 1].sum()))
            if not policy.stages and samples[i].id not in self._teacher:
                self._teacher[samples[i].id] = _Teacher.of(logits[i, : len(answer) + 1])
            teacher = self._teacher.get(samples[i].id)
            divergence.append(math.nan if teacher is None else teacher.divergence(logits[i, : len(answer) + 1]))
            said.append(self._settled(samples[i].answer, answer, best[i]))
        return totals, said, divergence

    def _settled(self, right: str, answer: Sequence[int], best: Sequence[int]) -> str | None:
        """What greedy decoding says, as far as the likeliest tokens along the right answer tell.

        Args:
            right: the right answer's text.
            answer: its W tokens.
            best: (W + 1) likeliest token after the prompt and after each of them.

        Returns:
            Where greedy decoding leaves the right answer: what it said so far, if that is wrong whatever follows, or
            None, if it has to go on.
        """
        ends = self._ends
        for i in range(min(len(answer) + 1, self._max_new_tokens)):
            if best[i] in ends:
                return self._text(answer[:i])
            if i == len(answer) or best[i] != answer[i]:
                text = self._text([*answer[:i], best[i]])
                return text if self.wrong_token_decides and not self._metric(text, right) else None
        return self._text(answer[: self._max_new_tokens])
