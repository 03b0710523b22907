"""Attach a policy to an unchanged Hugging Face model."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from autotc.errors import AutotcError, InputsError, PolicyError
from autotc.mechanisms import LAYER_SCORES
from autotc.models import BoundAdapter, bind, unwrap
from autotc.models.holes import check_holes
from autotc.policy import Policy, read_policy
from autotc.runtime.cache import CACHE, cache_length, given_cache
from autotc.runtime.encoders import Encoders
from autotc.runtime.hooks import Hooks, forget_compiled
from autotc.runtime.layers import Call
from autotc.runtime.request import Request
from autotc.runtime.steps import Observation, Observer, StageStats, Steps
from autotc.runtime.tracks import Track
from autotc.vocabulary import Modality

__all__ = ["Handle", "Observation", "Observer", "apply"]

_ACTIVE: weakref.WeakKeyDictionary[nn.Module, Handle] = weakref.WeakKeyDictionary()


class Handle:
    """An applied policy; a context manager. ``remove()`` restores the model to exactly what it was.

    One model serves one thread at a time; several models may each have a policy in threads of their own.

    Attributes:
        model, policy: what was applied to what.
        last: modality -> `Track` of the last request: which input each surviving token stands for.
    """

    def __init__(self, model: nn.Module, policy: Policy, bound: BoundAdapter, observer: Observer | None = None) -> None:
        self.model, self.policy = model, policy
        self.last: dict[Modality, Track] = {}
        self._bound = bound
        self._steps = Steps(policy, observer)
        self._hooks = Hooks()
        self._encoders = Encoders(bound, model, self._steps, self._hooks)
        self._argument_names = list(inspect.signature(model.forward).parameters)
        self._arguments: dict[str, Any] = {}
        self._request: Request | None = None
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

    def synchronise_scoring(self) -> None:
        """Wait for the accelerator around scores and mechanisms from now on, to see their own time."""
        self._steps.synchronise = torch.accelerator.is_available()

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __reduce__(self) -> Any:
        raise AutotcError("an applied policy cannot be pickled; save the policy and apply it where it is loaded")

    def remove(self) -> None:
        """Take every hook away; calling it twice is harmless."""
        self._hooks.remove()
        self._encoders.forget()
        self._request, self._arguments = None, {}
        if _ACTIVE.get(self.model) is self:
            del _ACTIVE[self.model]
            forget_compiled(self.model)

    # --- attaching ---

    def _attach(self) -> None:
        bound, adapter, model = self._bound, self._bound.adapter, self.model
        # A copy would keep hooks that are bound to this handle, and that nothing takes away: both look here first.
        self._hooks.replace(model, "__reduce_ex__", _refuse_copy)
        self._encoders.attach()
        self._hooks.before(model, self._before_model)
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
        # All layers alike: what torch.compile has made of one layer serves the others too, hooks and all.
        for i, layer in enumerate(layers if captured else ()):
            projections = adapter.layer_projections(layer)
            for part, module in (("query", projections.query), ("key", projections.key)):
                self._hooks.after(module, functools.partial(self._capture, i, part, i in captured))

    # --- the language model ---

    def _before_model(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        self._arguments = dict(zip(self._argument_names, args, strict=False)) | kwargs
        self._encoders.begin(self._arguments)
        if not cache_length(given_cache(self._arguments)):
            self._encoders.check()
            return None
        if self._request is None:
            raise InputsError(f"{CACHE}: the cache was made without this policy; prefill under it first")
        changed = self._request.only_new(self._arguments)
        if changed is None:
            return None
        self._arguments = changed
        return (), changed

    def _before_language(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        changed: dict[str, Any] | None
        if cache_length(given_cache(kwargs)) > 0:
            if self._encoders.waiting:
                names = ", ".join(self._encoders.waiting)
                raise InputsError(f"{names}: new media on a cache that already holds a request are not supported")
            if self._request is None:
                raise InputsError(f"{CACHE}: the cache was made without this policy; prefill under it first")
            changed = self._request.decode(self._arguments, kwargs)
        else:
            self._steps.begin()
            self._request = Request(self._bound, self.model, self._steps, self._encoders.take())
            changed = self._request.prefill(kwargs)
            if self._request.tracks:
                self.last = self._request.tracks
        return None if changed is None else (args, changed)

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


def _refuse_copy(protocol: Any) -> Any:
    raise AutotcError(
        "a model under a policy cannot be pickled or copied; leave the context, and apply the policy to the copy"
    )


def apply(model: nn.Module, policy: Policy | str | Path, observer: Observer | None = None) -> Handle:
    """Apply a policy to a model; use the handle as a context manager, or call its ``remove()``.

    Args:
        model: a supported Hugging Face model, left as it is; also inside the wrappers of PEFT, `torch.compile`,
            ``DataParallel`` and the like.
        policy: a policy or the path of its file.
        observer: called after every reduction with what it saw and did, also where it had nothing to remove.

    Raises:
        PolicyError: the policy is malformed or made for another model.
        UnsupportedModelError: no adapter knows the model.

    Example:
        >>> with autotc.apply(model, "policies/qwen-0.5.yaml") as handle:  # doctest: +SKIP
        ...     answer = model.generate(**inputs, max_new_tokens=64)
        >>> handle.stats[-1][0].requested, handle.stats[-1][0].realised  # doctest: +SKIP
        ([512], [512])
    """
    policy = read_policy(policy)
    model = unwrap(model)
    bound = bind(model)
    bound.validate(policy)
    check_holes(bound, model, policy)
    if model in _ACTIVE:
        raise PolicyError("a policy is already applied to this model; remove it first")
    handle = Handle(model, policy, bound, observer)
    _ACTIVE[model] = handle
    forget_compiled(model)
    return handle
