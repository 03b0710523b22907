"""Attach a policy to an unchanged Hugging Face model."""

from __future__ import annotations

import functools
import inspect
import threading
import weakref
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from autotc.errors import AutotcError, InputsError, PolicyError, UnsupportedModelError, quote
from autotc.mechanisms import LAYER_SCORES
from autotc.models import BoundAdapter, bind, unwrap
from autotc.models.holes import check_holes
from autotc.policy import Policy, read_policy
from autotc.runtime.cache import CACHE, Held, cache_length, given_cache, held_by
from autotc.runtime.columns import Columns
from autotc.runtime.decoding import Decoding
from autotc.runtime.encoders import Encoders
from autotc.runtime.features import Scorer
from autotc.runtime.generation import Generation
from autotc.runtime.hooks import Hooks, forget_compiled
from autotc.runtime.layers import Call
from autotc.runtime.losses import attach_losses
from autotc.runtime.request import Request
from autotc.runtime.steps import Observation, Observer, StageStats, Steps
from autotc.runtime.tracks import Track
from autotc.vocabulary import Modality

__all__ = ["Handle", "Observation", "Observer", "apply"]

# A handle holds its model, so it must not be held here: a model that is dropped under a policy goes with it.
_ACTIVE: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Handle]] = weakref.WeakKeyDictionary()


class Handle:
    """An applied policy; a context manager. ``remove()`` restores the model to exactly what it was.

    Threads may share the model: a call of it, or of its ``generate()``, waits until the one that is running is done.

    What a conversation has left rides on its cache: requests may take turns, a cache may be cropped, copied, and its
    rows picked. A picture that comes in a later turn is reduced in that turn, on what the cache holds; what earlier
    turns have left stays as it is.

    Attributes:
        model, policy: what was applied to what.
        last: modality -> `Track` of the last request that had media: which input each surviving token stands for.
    """

    def __init__(self, model: nn.Module, policy: Policy, bound: BoundAdapter, observer: Observer | None = None) -> None:
        self.model, self.policy = model, policy
        self.last: dict[Modality, Track] = {}
        self._bound = bound
        self._steps = Steps(policy, observer)
        self._hooks = Hooks()
        self._lock = threading.RLock()
        self._thread: int | None = None  # that runs a call of the model
        self._encoders = Encoders(bound, model, self._steps, self._hooks)
        self._generation = Generation(model, self._encoders, self._lock)
        self._argument_names = list(inspect.signature(model.forward).parameters)
        self._arguments: dict[str, Any] = {}
        self._request: Request | Decoding | None = None
        self._removed = False
        if policy.stages:
            self._attach()

    @property
    def stats(self) -> deque[list[StageStats]]:
        """Per request (the last 1,000), what each stage was asked for and left."""
        return self._steps.stats

    @property
    def scoring_seconds(self) -> deque[float]:
        """Per request, time the host spent on scores and mechanisms; on an accelerator see `synchronise_scoring`."""
        return self._steps.seconds

    @property
    def scorer(self) -> Scorer:
        """What reads scores inside the towers."""
        return self._encoders

    def synchronise_scoring(self) -> None:
        """Wait for the accelerator around scores and mechanisms from now on, to see their own time."""
        self._steps.synchronise = torch.accelerator.is_available()

    def __enter__(self) -> Handle:
        if self._removed:
            raise AutotcError("the policy was removed from the model already; apply it again with autotc.apply")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __reduce__(self) -> Any:
        raise AutotcError("an applied policy cannot be pickled; save the policy and apply it where it is loaded")

    def remove(self) -> None:
        """Take every hook away, once what is running is done; calling it twice is harmless."""
        with self._lock:
            self._removed = True
            self._hooks.remove()
            self._encoders.forget()
            self._request, self._arguments = None, {}
            active = _ACTIVE.get(self.model)
            if active is not None and active() is self:
                del _ACTIVE[self.model]
                forget_compiled(self.model)

    # --- attaching ---

    def _attach(self) -> None:
        bound, adapter, model = self._bound, self._bound.adapter, self.model
        self._generation.attach(self._hooks)
        self._encoders.attach()
        self._hooks.before(model, self._before_model)
        self._hooks.after(model, self._after_model, always=True)
        attach_losses(model, adapter.base(model), self._hooks, self._left)
        self._hooks.before(adapter.language_model(model), self._before_language)
        layers = adapter.layers(model)
        levels = (len(bound.deepstack(modality)) for modality in adapter.feature_methods())
        with_deepstack = max(levels, default=0)
        for i, layer in enumerate(layers):
            self._hooks.before(layer, functools.partial(self._before_layer, i))
            if i < with_deepstack:
                self._hooks.after(layer, functools.partial(self._after_layer, i))
        captured = {
            step.layer - 1
            for step in self._steps.at("decoder")
            if step.mechanism.score_source == "previous" and LAYER_SCORES & {*step.mechanism.needs}
        }
        with_values = any({"values", "text_values"} & {*step.mechanism.needs} for step in self._steps.at("decoder"))
        # All layers alike: what torch.compile has made of one layer serves the others too, hooks and all.
        for i in bound.decoder.attending if captured else ():
            projections = adapter.layer_projections(layers[i])
            parts = {"query": projections.query, "key": projections.key}
            if with_values and projections.value is not None:
                parts["value"] = projections.value
            for part, module in parts.items():
                self._hooks.after(module, functools.partial(self._capture, i, part, i in captured))

    # --- the model ---

    def _before_model(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if module is not self.model:
            raise InputsError("model: a replica of it runs (DataParallel); a policy serves the model it was applied to")
        thread = threading.get_ident()
        if self._thread != thread:
            self._lock.acquire()
            self._thread = thread
        kwargs = self._encoders.take_originals(kwargs)
        self._arguments = dict(zip(self._argument_names, args, strict=False)) | kwargs
        self._encoders.begin(self._arguments, self._generation.running)
        cache = given_cache(self._arguments)
        if cache_length(cache):
            self._held(cache)
        else:
            self._encoders.check()
        return args, kwargs

    def _after_model(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._thread != threading.get_ident():
            return
        self._arguments = {}
        self._encoders.forget()
        self._thread = None
        self._lock.release()

    def _held(self, cache: Any) -> Held:
        """What a cache with tokens in it holds.

        Raises:
            InputsError: this policy has not filled it.
        """
        held = held_by(cache)
        if held is None or held.policy != self.policy:
            raise InputsError(f"{CACHE}: the cache was made without this policy; prefill under it first")
        held.added(cache)
        return held

    def _left(self) -> Columns | None:
        """Columns of the running call's tokens that its logits are of; None for all."""
        return self._request.left if isinstance(self._request, Request) else None

    # --- the language model ---

    def _before_language(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        cache = given_cache(kwargs)
        held = self._held(cache) if cache_length(cache) else None
        if held is not None:
            self._encoders.drop_repeated()
        changed: dict[str, Any] | None
        if held is not None and not self._encoders.waiting:
            decoding = Decoding(self._bound, held)
            self._request = decoding
            changed = decoding.enter(self._arguments, kwargs)
        else:
            self._check_checkpointing()
            self._steps.begin()
            length = (0 if held is None else held.length(cache)) + kwargs["inputs_embeds"].shape[1]
            prompt = self._encoders.take(self._generation.drafts(length))
            request = Request(self._bound, self.model, self.policy, self._steps, prompt, held)
            self._request = request
            changed = request.enter(kwargs)
            if request.tracks:
                self.last = request.tracks
        return None if changed is None else (args, changed)

    def _check_checkpointing(self) -> None:
        """Refuse to train layers whose second forward, in the backward pass, would not know what the first has done."""
        if not torch.is_grad_enabled():
            return
        within = [m for m in self._encoders.waiting if self._steps.at("encoder", m)]
        if not within and not self._steps.at("decoder"):
            return
        modules = self.model.modules()
        if any(getattr(module, "gradient_checkpointing", False) and module.training for module in modules):
            raise InputsError(
                "gradient_checkpointing: it runs layers again in the backward pass, which a policy with encoder or"
                " decoder stages cannot follow; disable it, or train with input and projector stages"
            )

    def _before_layer(
        self, index: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call | None:
        return None if self._request is None else self._request.before_layer(index, args, kwargs)

    def _after_layer(self, index: int, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return None if self._request is None else self._request.after_layer(index, output)

    def _capture(
        self, index: int, part: str, captured: bool, module: nn.Module, args: tuple[Any, ...], output: Tensor
    ) -> None:
        if captured and self._request is not None:
            self._request.capture(index, part, output)


def apply(model: nn.Module, policy: Policy | str | Path, observer: Observer | None = None) -> Handle:
    """Apply a policy to a model; use the handle as a context manager, or call its ``remove()``.

    Args:
        model: a supported Hugging Face model, left as it is; also inside the wrappers of PEFT, `torch.compile`,
            ``DataParallel`` and the like.
        policy: a policy or the path of its file.
        observer: called after every reduction with what it saw and did, also where it had nothing to remove.

    Raises:
        PolicyError: the policy is malformed or made for another model, or one is applied to the model already.
        UnsupportedModelError: no adapter knows the model.

    Example:
        What a stage was asked to leave of each picture, and what it has left::

            with autotc.apply(model, "policies/qwen-0.5.yaml") as handle:
                ids = model.generate(**inputs, max_new_tokens=64)
            for stage in handle.stats[-1]:  # of the last request
                print(stage.label, stage.requested, stage.realised)
    """
    policy = read_policy(policy)
    if observer is not None and not callable(observer):
        raise PolicyError(f"observer: {quote(observer)} given; a function of an Observation is right")
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(
            f"model: {quote(model)} given; a model of transformers is right, as autotc.load has"
        )
    model = unwrap(model)
    bound = bind(model)
    bound.validate(policy)
    check_holes(bound, model, policy)
    if model in _ACTIVE and _ACTIVE[model]() is not None:
        raise PolicyError("a policy is already applied to this model; remove it first")
    handle = Handle(model, policy, bound, observer)
    _ACTIVE[model] = weakref.ref(handle)
    forget_compiled(model)
    return handle
