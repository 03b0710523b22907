"""Samples as inputs of a model: chat text, processing, batches, and which of them stay in memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers import BatchFeature

from autotc.errors import AutotcError, DataError, one_line
from autotc.evaluate.phases import Phases
from autotc.evaluate.samples import Media, Sample
from autotc.evaluate.towers import Towers
from autotc.models import Adapter
from autotc.policy import UNCOMPRESSED, Policy
from autotc.runtime import configure
from autotc.runtime.features import TowerStore
from autotc.vocabulary import Split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, ProcessorMixin

KEPT_BYTES = 4 * 10**9
"""Of samples prepared under input stages that are kept in memory."""

ENGINE_BATCH = 256
"""Samples that an engine is given at once."""

ProcessorCall = Callable[..., "BatchFeature"]
"""A processor, or what `configure` made of it."""
_PieceKey = tuple[str, str, str, int, int]
"""Split, group, hash of the input stages, first and last rank."""


@dataclass(frozen=True)
class Batch:
    """Samples processed together.

    Attributes:
        samples: in the order of the inputs' rows.
        ranks: their places in the group's order.
        inputs: what the processor made of them, in the host's memory.
        features: what is kept of the towers' outputs, once a run computed them.
    """

    samples: tuple[Sample, ...]
    ranks: tuple[int, ...]
    inputs: BatchFeature
    features: TowerStore = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the inputs."""
        return sum(value.nbytes for value in self.inputs.values() if isinstance(value, Tensor))


def process_inputs(
    adapter: Adapter, processor: ProcessorMixin, call: ProcessorCall, texts: Sequence[str], media: Sequence[Media]
) -> BatchFeature:
    """Inputs of one batch.

    Args:
        adapter: of the model.
        processor: of the checkpoint.
        call: that prepares inputs: the processor, or what `configure` made of it.
        texts: prompts with the chat template's placeholders.
        media: of each prompt.
    """
    extra: dict[str, Any] = {}
    if any(items.get("images") for items in media):
        # A list for each prompt: some families tile an image that stands alone, and only that.
        extra["images"] = [list(items.get("images", [])) for items in media]
    for key in ("videos", "audio"):
        together = [item for items in media for item in items.get(key, [])]
        if together:
            extra[key] = together
    if "videos" in extra:
        extra["videos_kwargs"] = {"do_sample_frames": False, **adapter.video_settings(processor)}
    return call(text=list(texts), return_tensors="pt", padding=True, padding_side="left", **extra)


def chat_text(processor: ProcessorMixin, turns: Sequence[Mapping[str, object]]) -> str:
    """A conversation under the checkpoint's template, without a start of sequence that the tokenizer writes itself."""
    text: str = processor.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=True)
    start = getattr(processor.tokenizer, "bos_token", None)
    return text.removeprefix(start) if start and _writes_start(processor.tokenizer) else text


def _writes_start(tokenizer: PreTrainedTokenizerBase) -> bool:
    ids = tokenizer("")["input_ids"]
    return bool(ids) and ids[0] == tokenizer.bos_token_id


class Batches:
    """Batches of an evaluator's samples. What was prepared stays, input stages up to a bound of memory.

    Args:
        adapter: of the model.
        processor: of the checkpoint.
        batch_size: samples of a batch, at most.
        by_answer: whether samples whose answer is one token get batches of their own: longer answers are written out
            more often, and others are spared the decode steps.
        phases: times ``inputs``.
        towers: keeps what the model's towers make of a batch.
    """

    def __init__(
        self,
        adapter: Adapter,
        processor: ProcessorMixin,
        batch_size: int,
        *,
        by_answer: bool,
        phases: Phases,
        towers: Towers,
    ) -> None:
        self._towers = towers
        self._adapter, self._processor = adapter, processor
        self._batch_size, self._by_answer, self._phases = batch_size, by_answer, phases
        self._for_engine = False
        self.pieces: dict[_PieceKey, list[Batch]] = {}
        self._stops: dict[tuple[str, str], set[int]] = {}

    def leave_to_engine(self) -> None:
        """Prepare nothing but the samples: an engine processes them itself, many at once."""
        self._for_engine, self._batch_size, self._by_answer = True, ENGINE_BATCH, False

    def inputs(self, samples: Sequence[Sample], call: ProcessorCall) -> BatchFeature:
        """Samples as one batch of inputs in the host's memory.

        Args:
            samples: to prepare; their media are loaded.
            call: the processor, or what `configure` made of it.

        Raises:
            DataError: a medium cannot be read, or the processor does not take a sample; the message names it.
        """
        with self._phases.phase("inputs"):
            media = [sample.media() for sample in samples]
            try:
                return self._processed(samples, media, call)
            except (AutotcError, MemoryError):
                raise
            except Exception as error:  # a processor may raise anything
                raise self._refusal(samples, media, call, error) from error

    def _processed(self, samples: Sequence[Sample], media: Sequence[Media], call: ProcessorCall) -> BatchFeature:
        texts = [chat_text(self._processor, sample.chat(items)) for sample, items in zip(samples, media, strict=True)]
        return process_inputs(self._adapter, self._processor, call, texts, media)

    def _refusal(
        self, samples: Sequence[Sample], media: Sequence[Media], call: ProcessorCall, error: Exception
    ) -> DataError:
        """What to say of samples that the processor does not take: the first that it does not take alone, and why."""
        culprit = samples[0]
        for sample, items in zip(samples, media, strict=True) if len(samples) > 1 else ():
            try:
                self._processed([sample], [items], call)
            except Exception as alone:
                culprit, error = sample, alone
                break
        reason = f"{type(error).__name__}: {one_line(error, 140)}"
        return DataError(f"{culprit.named}: the model's processor does not take it ({reason}); mend it or leave it out")

    def announce(self, split: Split, stops: Mapping[str, Sequence[int]]) -> None:
        """Take note of ranks at which later runs will stop: no batch reaches across one.

        Args:
            split: of the samples.
            stops: group -> ranks.
        """
        for group, counts in stops.items():
            self._stops.setdefault((split, group), set()).update(counts)

    def prepared(
        self, split: Split, group: str, members: Sequence[Sample], policy: Policy, ranks: tuple[int, int]
    ) -> list[Batch]:
        """Batches of a group's samples.

        Args:
            split, group: of the samples.
            members: all samples of the group.
            policy: whose input stages prepare them.
            ranks: first, and one past the last.
        """
        start, stop = ranks
        within = sorted(n for n in self._stops.get((split, group), ()) if start < n < stop)
        inputs = Policy(stages=tuple(s for s in policy.stages if s.location == "input"))
        pieces = []
        for first, last in pairwise([start, *within, stop]):
            key = (split, group, inputs.content_hash(), first, last)
            if key not in self.pieces:
                self.pieces[key] = self._piece(list(enumerate(members))[first:last], configure(self._processor, inputs))
            pieces.append(self.pieces[key])
        self._evict()
        return [batch for piece in pieces for batch in piece]

    def _piece(self, ranked: Sequence[tuple[int, Sample]], call: ProcessorCall) -> list[Batch]:
        """Ranked samples in batches of nearly equal size, each of one `Sample.batch_key`."""
        parts: dict[Hashable, list[tuple[int, Sample]]] = {}
        for rank, sample in ranked:
            several = self._by_answer and self.answer_length(sample) > 1
            parts.setdefault((sample.batch_key, several), []).append((rank, sample))
        batches = []
        for _, part in sorted(parts.items(), key=lambda item: str(item[0])):
            count = -(-len(part) // self._batch_size)
            edges = [round(i * len(part) / count) for i in range(count + 1)]
            for first, last in pairwise(edges):
                ranks, samples = zip(*part[first:last], strict=True)
                inputs = BatchFeature() if self._for_engine else self.inputs(samples, call)
                batches.append(Batch(samples, ranks, inputs, self._towers.of(inputs)))
        return batches

    def answer_length(self, sample: Sample) -> int:
        """Tokens of a sample's right answer."""
        return len(self._processor.tokenizer(sample.answer, add_special_tokens=False)["input_ids"])

    def _evict(self) -> None:
        """Let go of the oldest prepared input stages, each of which has pixels of its own, down to `KEPT_BYTES`."""
        uncompressed = UNCOMPRESSED.content_hash()
        sizes: dict[tuple[str, str, str], int] = {}
        for key, batches in self.pieces.items():
            if key[2] != uncompressed:
                # As old as its newest piece.
                sizes[key[:3]] = sizes.pop(key[:3], 0) + sum(batch.nbytes for batch in batches)
        for oldest in list(sizes)[:-1]:
            if sum(sizes.values()) <= KEPT_BYTES:
                return
            del sizes[oldest]
            for batch in (batch for key, batches in self.pieces.items() if key[:3] == oldest for batch in batches):
                batch.features.clear()
            self.pieces = {key: batches for key, batches in self.pieces.items() if key[:3] != oldest}
