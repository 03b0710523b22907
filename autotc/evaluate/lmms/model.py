"""``--model autotc`` of lmms-eval: any supported checkpoint under a policy, on any of its tasks.

python -m lmms_eval --model autotc --model_args pretrained=Qwen/Qwen2.5-VL-7B-Instruct,policy=x.yaml --tasks mme
"""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms
from loguru import logger
from tqdm import tqdm

from autotc.errors import DataError
from autotc.evaluate.batches import chat_text, process_inputs
from autotc.evaluate.decoding import continuations, prefill
from autotc.evaluate.lmms import require_lmms_eval
from autotc.evaluate.lmms.generation import Generation
from autotc.evaluate.lmms.prompts import Prompt, chat_prompt, simple_prompt
from autotc.evaluate.media import Reading
from autotc.models import bind, find_adapter
from autotc.models.loading import load_model
from autotc.models.settings import Loading
from autotc.names import nearest
from autotc.policy import UNCOMPRESSED, Policy
from autotc.runtime import apply, configure
from autotc.vocabulary import Group

_SAMPLING = ("temperature", "top_p", "top_k", "repetition_penalty")


class AutotcModel(lmms):  # type: ignore[misc]
    """A checkpoint under a policy.

    Args:
        pretrained: folder or hub name; ``tiny-omni``, the embedded model, where none is given.
        policy: a policy file; ``none`` for the uncompressed model.
        batch_size: requests of one forward.
        device: where the model goes without a device map (default: a GPU where there is one).
        max_new_tokens: of answers, where a task does not say.
        max_num_frames: that longer videos are thinned to.
        loading: ``dtype``, ``device_map``, ``attn_implementation``, ``revision``, ``trust_remote_code``; see `Loading`.

    Raises:
        DataError: the checkpoint cannot be loaded.
        PolicyError: the policy is malformed or does not fit the model.
    """

    def __init__(
        self,
        pretrained: str = "tiny-omni",
        policy: str = "none",
        batch_size: int | str = 1,
        device: str | None = None,
        max_new_tokens: int = 128,
        max_num_frames: int = 32,
        **loading: Any,
    ) -> None:
        super().__init__()
        require_lmms_eval()
        _key_by_policy()
        if not str(batch_size).isdigit() or int(batch_size) < 1:
            raise DataError(f"batch_size: {batch_size!r} given; a whole number from 1 is right")
        self.batch_size = int(batch_size)
        # What is wrong with the policy is told before the model is loaded.
        self.policy = UNCOMPRESSED if policy == "none" else Policy.load(policy)
        how = _loading(loading)
        embedded = pretrained == "tiny-omni"
        self._model, self.processor = load_model(None) if embedded else load_model(pretrained, how)
        if how.device_map is None:
            self._model.to(device or _device())
        bind(self._model).validate(self.policy)
        self.pretrained = pretrained
        self.processor.tokenizer.padding_side = "left"  # answers go on from the end
        self._call = configure(self.processor, self.policy)
        self._reading = Reading.of(self.processor, int(max_num_frames))
        self._max_new_tokens = int(max_new_tokens)
        self._told: set[str] = set()

    def __repr__(self) -> str:
        return f"autotc(pretrained={self.pretrained}, policy={self.policy.content_hash()})"

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        device: torch.device = next(self._model.parameters()).device
        return device

    def clean(self) -> None:
        """Keep the model: lmms-eval asks for this after each evaluation, and the next one needs it again."""

    def apply_chat_template(self, *_: Any, **__: Any) -> str:
        """Refused: prompts get the checkpoint's template here, with their media.

        Raises:
            DataError: always.
        """
        raise DataError("--apply_chat_template: autotc applies the checkpoint's own template; leave it out")

    # --- requests ---

    @abstractmethod
    def _prompt(self, request: Any) -> Prompt:
        """What a request asks."""

    @abstractmethod
    def _arguments(self, request: Any) -> dict[str, Any]:
        """A request's generation arguments."""

    def _document(self, request: Any) -> Any:
        *_, index, task, split = request.args
        return self.task_dict[task][split][index]

    def _batches(
        self, requests: Sequence[Any], key: Callable[[Any], Hashable]
    ) -> Iterator[tuple[list[int], list[Prompt]]]:
        """Requests of one kind and one modality group, as many at a time as fit a batch; media are read on the way."""
        waiting: dict[Hashable, tuple[list[int], list[Prompt]]] = {}
        for i, request in enumerate(requests):
            prompt = self._prompt(request)
            self._warn(request, prompt)
            bucket = (key(request), prompt.group)
            places, prompts = waiting.setdefault(bucket, ([], []))
            places.append(i)
            prompts.append(prompt)
            if len(places) == self.batch_size:
                yield waiting.pop(bucket)
        yield from waiting.values()

    def _warn(self, request: Any, prompt: Prompt) -> None:
        """Say once of a task that the policy leaves it as it is."""
        task = str(request.args[-2])
        if (
            self.policy.stages
            and task not in self._told
            and not set(Group(prompt.group).modalities) & set(self.policy.modalities)
        ):
            self._told.add(task)
            logger.warning(f"{task}: the policy has no stage for {prompt.group}; its samples run uncompressed")

    def _inputs(self, prompts: Sequence[Prompt]) -> Any:
        texts = [chat_text(self.processor, p.turns) for p in prompts]
        return process_inputs(
            find_adapter(self._model), self.processor, self._call, texts, [p.media for p in prompts]
        ).to(self.device)

    # --- answers ---

    @torch.inference_mode()
    def generate_until(self, requests: list[Any]) -> list[GenerationResult]:
        """An answer to each request, in their order."""
        out: list[Any] = [None] * len(requests)
        bar = tqdm(total=len(requests), disable=self.rank != 0, desc="Model Responding")
        tokenizer = self.processor.tokenizer
        kind = lambda request: json.dumps(self._arguments(request), sort_keys=True, default=str)  # noqa: E731
        for places, prompts in self._batches(requests, kind):
            arguments = self._arguments(requests[places[0]])
            generation = Generation.of(arguments, self._max_new_tokens)
            inputs = self._inputs(prompts)
            with apply(self._model, self.policy):
                ids = self._model.generate(
                    **inputs,
                    max_new_tokens=generation.new_tokens,
                    num_beams=generation.beams,
                    **_sampling(arguments),
                )
            new = ids[:, inputs["input_ids"].shape[1] :]
            given = inputs["attention_mask"].sum(1).tolist()
            for row, (place, text) in enumerate(
                zip(places, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True)
            ):
                said = int((new[row] != tokenizer.pad_token_id).sum())
                out[place] = GenerationResult(generation.cut(text), TokenCounts(given[row], said))
            bar.update(len(places))
        bar.close()
        return out

    @torch.inference_mode()
    def loglikelihood(self, requests: list[Any]) -> list[GenerationResult]:
        """Mean negative log-likelihood of each continuation, and whether greedy decoding would say it.

        lmms-eval takes the least of a multiple choice's for the answer, so this is a loss, as in its own models. It
        turns a bare pair into a text, which its own scoring then cannot unpack: the pair goes wrapped.
        """
        out: list[Any] = [None] * len(requests)
        bar = tqdm(total=len(requests), disable=self.rank != 0, desc="Model Responding")
        wanted: dict[Hashable, list[tuple[int, str]]] = {}
        first: dict[Hashable, Any] = {}
        for i, request in enumerate(requests):
            if len(request.args) != 6:
                raise DataError("loglikelihood without a document (acc_mutual_info): not supported; use another metric")
            context, target, _, index, task, split = request.args
            text = target if isinstance(target, str) else str(target(self._document(request)))
            asked = (task, split, index, context)
            wanted.setdefault(asked, []).append((i, text))
            first.setdefault(asked, request)
        asks = list(wanted)
        for places, prompts in self._batches([first[asked] for asked in asks], lambda _: None):
            inputs = self._inputs(prompts)
            rows = [wanted[asks[place]] for place in places]
            with apply(self._model, self.policy):
                prompt = prefill(self._model, inputs)
                for number in range(max(map(len, rows))):
                    chosen = [row[min(number, len(row) - 1)] for row in rows]
                    found = continuations(
                        self._model, self.processor.tokenizer, prompt, inputs["attention_mask"], [t for _, t in chosen]
                    )
                    for (place, _), (total, tokens, greedy) in zip(chosen, found, strict=True):
                        out[place] = GenerationResult((-total / tokens, greedy))
            bar.update(sum(map(len, rows)))
        bar.close()
        return out

    def generate_until_multi_round(self, requests: list[Any]) -> list[str]:
        """Refused: later rounds bring media on top of a cache that a policy has thinned.

        Raises:
            DataError: always, naming the task.
        """
        raise DataError(
            f"{requests[0].args[-2]}: asks in several rounds; autotc answers single questions (generate_until,"
            " multiple_choice), take another task"
        )


class SimpleModel(AutotcModel):
    """Takes a text and its media; what ``--force_simple`` chooses, and tasks of ``multiple_choice`` need."""

    is_simple = True

    def _prompt(self, request: Any) -> Prompt:
        visuals = request.args[2](self._document(request))
        return simple_prompt(str(request.args[0]).replace("<image>", ""), visuals, self._reading)

    def _arguments(self, request: Any) -> dict[str, Any]:
        return dict(request.args[1])


class ChatModel(AutotcModel):
    """Takes conversations."""

    is_simple = False

    def _prompt(self, request: Any) -> Prompt:
        return chat_prompt(request.args[1](self._document(request)), self._reading)

    def _arguments(self, request: Any) -> dict[str, Any]:
        return dict(request.args[2])


def _sampling(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A task's wish to sample, as `generate()` takes it; greedy where it asks for no temperature."""
    if not float(arguments.get("temperature") or 0) > 0 or arguments.get("do_sample") is False:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return {"do_sample": True, **{name: arguments[name] for name in _SAMPLING if arguments.get(name) is not None}}


def _device() -> str:
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"


def _loading(options: Mapping[str, Any]) -> Loading:
    """How the model's arguments say that it is loaded."""
    known = [field.name for field in fields(Loading)]
    for name in options:
        if name not in known:
            raise DataError(f"--model_args: {name}: unknown; {nearest(name, ['policy', 'batch_size', *known])}")
    return Loading(**options)


def _key_by_policy() -> None:
    """Let lmms-eval's response cache tell policies apart by what they hold: it knows their paths alone."""
    from lmms_eval.caching.response_cache import ResponseCache
    from lmms_eval.utils import simple_parse_args_string

    create = ResponseCache.create.__func__
    if hasattr(create, "autotc"):
        return

    def keyed(cls: Any, /, cache_root: str, *, model: Any = "", model_args: Any = "", **rest: Any) -> Any:
        if model == "autotc":
            given = simple_parse_args_string(model_args) if isinstance(model_args, str) else dict(model_args)
            path = str(given.get("policy", "none"))
            policy = UNCOMPRESSED if path == "none" else Policy.load(Path(path))
            model_args = {**given, "policy_hash": policy.content_hash()}
        return create(cls, cache_root, model=model, model_args=model_args, **rest)

    keyed.autotc = True  # type: ignore[attr-defined]
    ResponseCache.create = classmethod(keyed)
