"""One request under a policy and without it: what became of its tokens, and what the model answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from transformers import BatchFeature

from autotc.cost import prefill_cost, request_shapes
from autotc.errors import DataError, quote
from autotc.evaluate.costs import RequestCosts
from autotc.evaluate.jsonl import check_prompt
from autotc.evaluate.media import Reading, load_image, load_video
from autotc.evaluate.model import ModelEvaluator
from autotc.evaluate.outcomes import media_views
from autotc.evaluate.samples import MEDIA_KEYS, Media, Sample
from autotc.models import bind
from autotc.policy import UNCOMPRESSED, Policy
from autotc.records.shown import Answer, MediumView, RequestView
from autotc.runtime import Handle, apply, configure
from autotc.runtime.steps import Observation
from autotc.vocabulary import SPLITS, Group, Modality, Split

_NAMED = 3
"""Ids that an error names."""


class RequestOptions(TypedDict, total=False):
    """Which requests are looked at; all may be left out.

    Attributes:
        image, video, audio: files of one request of the user's own, in the order in which the prompt has them.
        prompt: of that request.
        answer: right one of that request, where it is known.
        sample: ids of samples of the evaluator, of any split.
        samples: the first so many of each modality group of ``split``.
        split: of ``samples``; without, test.
    """

    image: Sequence[str | Path] | None
    video: Sequence[str | Path] | None
    audio: Sequence[str | Path] | None
    prompt: str | None
    answer: str | None
    sample: Sequence[str] | None
    samples: int | None
    split: Split


@dataclass(frozen=True)
class _Ran:
    """What a run has left: its handle, the inputs and the words."""

    handle: Handle
    inputs: BatchFeature
    text: str


def requested_samples(evaluator: ModelEvaluator, options: RequestOptions) -> list[Sample]:
    """The samples that are asked for.

    Raises:
        DataError: a file cannot be read, the model does not take it, or there is no such sample.
    """
    out: list[Sample] = []
    if any(options.get(modality) for modality in MEDIA_KEYS):
        out.append(own_sample(evaluator, options))
    if options.get("sample"):
        known = {sample.id: sample for split in SPLITS for sample in evaluator.samples(split)}
        for wanted in options["sample"] or ():
            if wanted not in known:
                some = ", ".join(quote(name, 40).strip("'") for name in list(known)[:_NAMED])
                raise DataError(f"--sample: no sample is called {quote(wanted)}; {len(known):,} are there: {some}, ...")
            out.append(known[wanted])
    count = options.get("samples")
    if count:
        seen: dict[str, int] = {}
        for sample in evaluator.samples(options.get("split", "test")):
            seen[sample.group] = seen.get(sample.group, 0) + 1
            out += [sample] if seen[sample.group] <= count else []
    return out


def own_sample(evaluator: ModelEvaluator, options: RequestOptions) -> Sample:
    """A request of the user's own as a sample.

    Raises:
        DataError: a file cannot be read, the model does not take it, or the prompt holds a placeholder.
    """
    prompt = options.get("prompt") or ""
    check_prompt(prompt, evaluator.processor, "--prompt")
    reading = Reading.of(evaluator.processor)
    media: dict[str, list[object]] = {}
    for modality, key in MEDIA_KEYS.items():
        for path in _paths(options, modality):
            if modality not in evaluator.locations:
                takes = ", ".join(evaluator.locations)
                raise DataError(f"--{modality}: given; {type(evaluator.loaded).__name__} takes {takes}")
            media.setdefault(key, []).append(_read(modality, path, reading))
    group = Group.of(modality for modality, key in MEDIA_KEYS.items() if key in media)
    return Sample("request", "request", group, prompt, options.get("answer") or "", lambda: media)


def _paths(options: RequestOptions, modality: Modality) -> Sequence[str | Path]:
    paths = {"image": options.get("image"), "video": options.get("video"), "audio": options.get("audio")}[modality]
    return paths or ()


def _read(modality: Modality, path: str | Path, reading: Reading) -> object:
    try:
        if modality == "image":
            return np.array(load_image(path))
        return load_video(path, reading.frames).frames if modality == "video" else reading.sound(Path(path))
    except DataError as error:
        raise DataError(f"--{modality}: {error}") from error


@torch.inference_mode()
def look(evaluator: ModelEvaluator, policy: Policy, sample: Sample, name: str | None = None) -> RequestView:
    """What became of a sample's tokens under a policy, and the answers with it and without.

    Args:
        evaluator: whose model answers.
        policy: to apply.
        sample: to look at.
        name: of the policy; None takes its label.

    Raises:
        PolicyError: the policy does not fit the model.
        DataError: the sample cannot be read or prepared.
        MechanismError: a mechanism failed.
    """
    bare, ran = _ran(evaluator, UNCOMPRESSED, sample), _ran(evaluator, policy, sample)
    media = sample.media()
    held = Group(sample.group).modalities
    return RequestView(
        id=sample.id,
        policy=policy.label() if name is None else name,
        prompt=sample.prompt,
        right=sample.answer or None,
        answer=_answer(evaluator, sample, ran.text),
        baseline=_answer(evaluator, sample, bare.text),
        flops_ratio=_flops_ratio(evaluator, policy, bare, ran),
        media=tuple(_views(evaluator, policy, (bare, ran), media)),
        untouched=tuple(modality for modality in held if not policy.modality(modality)),
    )


def _ran(evaluator: ModelEvaluator, policy: Policy, sample: Sample) -> _Ran:
    """Generate greedily under a policy."""

    def seen(observation: Observation) -> None:
        """Being watched, every stage reports, also where it has nothing to remove."""

    model = evaluator.loaded
    inputs = evaluator.batches.inputs([sample], configure(evaluator.processor, policy))
    moved = type(inputs)(dict(inputs)).to(evaluator.device)
    with apply(model, policy, seen) as handle:
        limit = evaluator.scorer.new_tokens(sample)
        ids = model.generate(**moved, max_new_tokens=limit, do_sample=False)
    said = ids[0, moved["input_ids"].shape[1] :]
    return _Ran(handle, inputs, str(evaluator.processor.tokenizer.decode(said, skip_special_tokens=True)).strip())


def _answer(evaluator: ModelEvaluator, sample: Sample, text: str) -> Answer:
    return Answer(text, evaluator.scorer.score(sample, text)[0] if sample.answer else None)


def _flops_ratio(evaluator: ModelEvaluator, policy: Policy, bare: _Ran, ran: _Ran) -> float:
    """Prefill FLOPs of the request under the policy, over those without it."""
    bound = bind(evaluator.loaded)
    (request,) = request_shapes(bound, bare.inputs)
    costs = RequestCosts(bound)
    if policy.adaptive:
        (entry,) = costs.measured(policy, bare.inputs, ran.inputs, ran.handle.stats[0])
        cost = entry.cost
    else:
        cost = costs.cost(policy, request)
    return cost.total / prefill_cost(bound, UNCOMPRESSED, [request]).total


def _views(evaluator: ModelEvaluator, policy: Policy, runs: tuple[_Ran, _Ran], media: Media) -> list[MediumView]:
    bare, ran = runs
    (request,) = request_shapes(bind(evaluator.loaded), bare.inputs)
    out: list[MediumView] = []
    for key in media:
        modality = next(name for name, held in MEDIA_KEYS.items() if held == key)
        items = [item for item in request.items if item.modality == modality]
        contents = [np.asarray(item) for item in media[key]]
        out += media_views(policy, modality, items, ran.handle.last.get(modality), contents)
    return out
