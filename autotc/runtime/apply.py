"""Attach a policy to an unchanged Hugging Face model: the one place with hooks."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from autotc.errors import AutotcError, InputsError, PolicyError
from autotc.mechanisms import LAYER_SCORES, TOWER_SCORES, Score
from autotc.models import Adapter, Item, bind, find_adapter
from autotc.models.media import marked
from autotc.policy import Policy
from autotc.runtime.decode import CACHE, cache_length, given_cache
from autotc.runtime.ledger import StageStats, Track
from autotc.runtime.request import Call, Prompt, Request, check_placeholders
from autotc.runtime.steps import Observation, Observer, Step, Steps
from autotc.runtime.towers import TowerRun
from autotc.vocabulary import Modality

__all__ = ["Handle", "Observation", "Observer", "apply"]

_ACTIVE: weakref.WeakKeyDictionary[nn.Module, Handle] = weakref.WeakKeyDictionary()


def _untraced(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The hook, left out of what torch.compile traces: it compiles the layers around it."""
    compiler: Any = torch.compiler
    out: Callable[..., Any] = compiler.disable(hook)
    return out


def _forget_compiled(model: nn.Module) -> None:
    """Let a compiled model be compiled again: torch.compile does not notice that hooks have come or gone."""
    if any(getattr(module, "_compiled_call_impl", None) is not None for module in model.modules()):
        compiler: Any = torch.compiler
        compiler.reset()


class Handle:
    """An applied policy; a context manager. ``remove()`` restores the model to exactly what it was.

    One model serves one thread at a time; several models may each have a policy in threads of their own.

    Attributes:
        model, policy: what was applied to what.
        last: modality -> `Track` of the last request: which input each surviving token stands for.
    """

    def __init__(self, model: nn.Module, policy: Policy, adapter: Adapter, observer: Observer | None = None) -> None:
        self.model, self.policy = model, policy
        self.last: dict[Modality, Track] = {}
        self._adapter = adapter
        self._config: Any = model.config
        self._steps = Steps(policy, observer)
        self._removers: list[Callable[[], Any]] = []
        self._names = list(inspect.signature(model.forward).parameters)
        self._arguments: dict[str, Any] = {}
        self._encoding: Modality | None = None
        self._followed: list[Modality] = []
        self._known: dict[Modality, list[Item]] = {}
        self._ids: Tensor | None = None
        self._items: dict[Modality, list[Item]] = {}
        self._towers: dict[Modality, TowerRun] = {}
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

    def _refuse_copy(self, protocol: Any) -> Any:
        raise AutotcError(
            "a model under a policy cannot be pickled or copied; leave the context, and apply the policy to the copy"
        )

    def remove(self) -> None:
        """Take every hook away; calling it twice is harmless."""
        for remove in reversed(self._removers):
            remove()
        self._removers.clear()
        self._request, self._towers, self._items, self._arguments = None, {}, {}, {}
        self._known, self._ids = {}, None
        if _ACTIVE.get(self.model) is self:
            del _ACTIVE[self.model]
            _forget_compiled(self.model)

    # --- attaching ---

    def _attach(self) -> None:
        adapter, model = self._adapter, self.model
        base = adapter.base(model)
        # A copy would keep hooks that are bound to this handle, and that nothing takes away: both look here first.
        model.__dict__["__reduce_ex__"] = self._refuse_copy
        self._removers.append(lambda: model.__dict__.pop("__reduce_ex__", None))
        touched = {step.stage.modality for step in self._steps}
        for modality, name in adapter.feature_methods().items():
            # Deep-stack features of all media arrive together: then all of them are followed.
            if modality in touched or adapter.deepstack(self._config, modality):
                self._follow(base, name, modality)
                self._followed.append(modality)
        self._before(model, self._before_model)
        self._before(adapter.language_model(model), self._before_language)
        layers = adapter.layers(model)
        deep = max(
            (len(adapter.deepstack(self._config, modality)) for modality in adapter.feature_methods()), default=0
        )
        for i, layer in enumerate(layers):
            self._before(layer, functools.partial(self._before_layer, i))
            if i < deep:
                self._after(layer, functools.partial(self._after_layer, i))
        watched = {
            step.layer - 1
            for step in self._steps.at("decoder")
            if step.mechanism.score_source == "previous" and LAYER_SCORES & {*step.mechanism.needs}
        }
        # All layers alike: what torch.compile has made of one layer serves the others too, hooks and all.
        for i, layer in enumerate(layers if watched else ()):
            projections = adapter.layer_projections(layer)
            for part, module in (("query", projections.query), ("key", projections.key)):
                self._after(module, functools.partial(self._capture, i, part, i in watched))
        for modality in adapter.feature_methods():
            self._attach_tower(modality)

    def _attach_tower(self, modality: Modality) -> None:
        watched = self._tower_scores(modality)
        if not watched and not self._steps.at("encoder", modality):
            return
        blocks = self._adapter.blocks(self.model, modality)
        expand_at = self._adapter.expand_at(self._config, modality)
        example = self._adapter.tower_shape(self._config, modality)
        for i, block in enumerate(blocks):
            self._before(block, functools.partial(self._before_block, modality, i))
            if example.tiled:
                attention = self._adapter.block_attention(block)
                self._before(attention, functools.partial(self._before_attention, modality))
            if i in expand_at:
                self._after(block, functools.partial(self._after_block, modality, i))
        for i in watched:
            projections = self._adapter.block_projections(blocks[i])
            # Hooks that are prepended run last first; queries must come before keys, also of one fused layer.
            for part, module in (("key", projections.key), ("query", projections.query)):
                self._after(module, functools.partial(self._capture_block, modality, i, part))

    def _tower_scores(self, modality: Modality) -> dict[int, set[Score]]:
        """Block of the modality's tower -> scores to take there."""
        out: dict[int, set[Score]] = {}
        for step in self._steps.at("encoder", modality) + self._steps.at("projector", modality):
            for need in TOWER_SCORES & {*step.mechanism.needs}:
                out.setdefault(self._score_block(modality, step, need), set()).add(need)
        return out

    def _score_block(self, modality: Modality, step: Step, need: Score) -> int:
        if step.stage.location == "encoder":
            return step.layer
        return self._adapter.score_block(self._config, modality, need)

    def _before(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        handle = module.register_forward_pre_hook(_untraced(hook), with_kwargs=True, prepend=True)
        self._removers.append(handle.remove)

    def _after(self, module: nn.Module, hook: Callable[..., Any], always: bool = False) -> None:
        handle = module.register_forward_hook(_untraced(hook), prepend=True, always_call=always)
        self._removers.append(handle.remove)

    def _follow(self, base: nn.Module, name: str, modality: Modality) -> None:
        """Know when a modality is encoded, and what: no hook tells a shared tower whether it sees images or a video."""
        inner = getattr(base, name)
        if isinstance(inner, nn.Module):

            def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
                self._enter(modality, self._arguments)

            def leave(module: nn.Module, args: Any, output: Any) -> None:
                self._encoding = None

            self._before(inner, enter)
            self._after(inner, leave, always=True)
            return
        signature = inspect.signature(inner)
        present = name in base.__dict__
        previous = base.__dict__.get(name)

        @functools.wraps(inner)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self._encoding is not None:  # one modality's method is another one's way to the tower
                return inner(*args, **kwargs)
            self._enter(modality, signature.bind_partial(*args, **kwargs).arguments)
            try:
                return inner(*args, **kwargs)
            finally:
                self._encoding = None

        def restore() -> None:
            if present:
                base.__dict__[name] = previous
            else:
                base.__dict__.pop(name, None)

        base.__dict__[name] = wrapped
        self._removers.append(restore)

    def _enter(self, modality: Modality, arguments: dict[str, Any]) -> None:
        shape = self._adapter.shape_inputs()[modality]
        if modality in self._known and arguments.get(shape) is self._arguments.get(shape):
            items = self._known[modality]
        else:
            items = self._adapter.geometry(self._config, modality, arguments)
        if self._steps.at("input", modality):
            originals = marked(arguments.get(shape))
            if originals is None:
                raise InputsError(
                    f"{modality}: the policy has an input stage, but these inputs were not prepared by"
                    " autotc.configure(processor, policy); call what it returns in place of the processor"
                )
            left = [item.count for item in items]
            items = self._adapter.restored(items, originals)
            self._steps.shrunk(modality, originals, left)
        self._items[modality] = items
        self._towers.pop(modality, None)
        self._encoding = modality

    # --- towers ---

    def _before_block(
        self, modality: Modality, index: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call | None:
        if self._encoding != modality:
            return None
        if not args:
            args, kwargs = (kwargs["hidden_states"],), {k: v for k, v in kwargs.items() if k != "hidden_states"}
        if index == 0:
            items = self._items[modality]
            self._towers[modality] = TowerRun(self._adapter, self._config, modality, items, args[0], self._steps)
        out: Call = self._towers[modality].before(index, module, args, kwargs)
        return out

    def _before_attention(
        self, modality: Modality, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call | None:
        if self._encoding != modality:
            return None
        hidden = args[0] if args else kwargs["hidden_states"]
        return args, self._towers[modality].attention(kwargs, hidden, module)

    def _capture_block(
        self, modality: Modality, index: int, part: str, module: nn.Module, args: tuple[Any, ...], output: Tensor
    ) -> None:
        if self._encoding == modality:
            projections = self._adapter.block_projections(self._adapter.blocks(self.model, modality)[index])
            with self._steps.scoring(begun=False):
                wanted = self._tower_scores(modality)[index]
                self._towers[modality].capture(index, part, output, projections, wanted)

    def _after_block(
        self, modality: Modality, index: int, module: nn.Module, args: tuple[Any, ...], output: Any
    ) -> Any:
        return None if self._encoding != modality else self._towers[modality].after(index, output)

    # --- the language model ---

    def _before_model(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        self._arguments = dict(zip(self._names, args, strict=False)) | kwargs
        self._known, self._ids = {}, None
        if not cache_length(given_cache(self._arguments)):
            self._check()
            return None
        if self._request is None:
            raise InputsError(f"{CACHE}: the cache was made without this policy; prefill under it first")
        changed = self._request.only_new(self._arguments)
        if changed is None:
            return None
        self._arguments = changed
        return (), changed

    def _check(self) -> None:
        """Refuse a prompt that does not fit its media before anything is computed; keeps what was found out.

        Raises:
            InputsError: naming the argument.
        """
        ids = self._arguments.get("input_ids")
        names = self._adapter.shape_inputs()
        given = [modality for modality in self._followed if self._arguments.get(names[modality]) is not None]
        if not given:
            return
        mask = self._arguments.get("attention_mask")
        if isinstance(mask, Tensor) and mask.dim() != 2:
            raise InputsError("attention_mask: the policy needs the 2-D mask of the prompt")
        if ids is None:
            return
        self._ids = ids.cpu()
        placeholders = self._adapter.placeholders(self._config)
        for modality in given:
            items = self._known[modality] = self._adapter.geometry(self._config, modality, self._arguments)
            check_placeholders(modality, items, int((self._ids == placeholders[modality]).sum()))

    def _before_language(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        changed: dict[str, Any] | None
        if cache_length(given_cache(kwargs)) > 0:
            if self._items:
                names = ", ".join(self._items)
                raise InputsError(f"{names}: new media on a cache that already holds a request are not supported")
            if self._request is None:
                raise InputsError(f"{CACHE}: the cache was made without this policy; prefill under it first")
            changed = self._request.decode(self._arguments, kwargs)
        else:
            self._steps.begin()
            prompt = Prompt(self._arguments, self._items, self._towers, self._ids)
            self._items, self._towers = {}, {}
            self._request = Request(self._adapter, self.model, self._steps, prompt)
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
        self, index: int, part: str, watched: bool, module: nn.Module, args: tuple[Any, ...], output: Tensor
    ) -> None:
        if watched and self._request is not None:
            self._request.capture(index, part, output)


def apply(model: nn.Module, policy: Policy | str | Path, observer: Observer | None = None) -> Handle:
    """Apply a policy to a model; use the handle as a context manager, or call its ``remove()``.

    Args:
        model: a supported Hugging Face model, left as it is.
        policy: a policy or the path of its file.
        observer: called after every reduction with what it saw and did, also where it had nothing to remove.

    Raises:
        PolicyError: the policy is malformed or made for another model.
        UnsupportedModelError: no adapter knows the model.
    """
    if isinstance(policy, (str, Path)):
        policy = Policy.load(policy)
    wrapped = getattr(model, "_orig_mod", None)  # what torch.compile(model) has returned
    model = wrapped if isinstance(wrapped, nn.Module) else model
    adapter = find_adapter(model)
    bind(model).validate(policy)
    if model in _ACTIVE:
        raise PolicyError("a policy is already applied to this model; remove it first")
    handle = Handle(model, policy, adapter, observer)
    _ACTIVE[model] = handle
    _forget_compiled(model)
    return handle
