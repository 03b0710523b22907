"""What the towers make of a request's media, kept: it does not depend on stages after the towers."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from autotc.models import Adapter
from autotc.policy import Policy
from autotc.runtime.tower_scores import ScoreKey
from autotc.vocabulary import Modality

_UNREAD = ("hidden_states", "attentions")
"""Parts of an output that no model hands on from its towers, and that are many times as large as what it does."""
_REPLACED = "last_hidden_state"
"""Of pictures and videos the language model is given what the projector has made of it, in ``pooler_output``."""

HASHED_BYTES = 64 * 2**20
"""Of a tensor that a model makes of its inputs before it calls a tower; larger ones are not looked at, nor kept."""


@dataclasses.dataclass(frozen=True)
class TowerCall:
    """What was asked of a tower: the same call on the same tensors gives the same, bit for bit.

    Attributes:
        modality: that was encoded.
        method: of the model's base.
        inputs: its parameters that are tensors, each with its name in the request, or, made on the way from there, its
            `tensor_digest`.
        settings: its other arguments, as text.
        score: block and name of a score that was taken inside the tower; empty for what the method returned.
    """

    modality: Modality
    method: str
    inputs: tuple[tuple[str, str], ...]
    settings: str
    score: str = ""

    def scored(self, key: ScoreKey) -> TowerCall:
        """The same call, with a score of one of the tower's blocks as its result."""
        return dataclasses.replace(self, score=f"{key[0]}.{key[1]}")


TowerStore = MutableMapping[TowerCall, object]
"""One request's outputs of its towers and scores taken in them; a dict is one."""


class Scorer(Protocol):
    """Who reads scores inside the towers of a policy that is applied; see `autotc.runtime.encoders.Encoders`."""

    def scores_wanted(self, modality: Modality) -> set[ScoreKey]: ...
    def scores_taken(self, modality: Modality) -> Mapping[ScoreKey, Tensor]: ...
    def scores_known(self, modality: Modality, scores: Mapping[ScoreKey, Tensor]) -> None: ...


def reads_tower(policy: Policy, modality: Modality) -> bool:
    """Whether a policy changes what the modality's tower is given or does: whether it has input or encoder stages."""
    return any(stage.location in ("input", "encoder") for stage in policy.modality(modality))


class Reuse:
    """Takes what towers make of one request from a store, or puts it there.

    Args:
        inputs: the request; its tensors are recognised by identity.
        store: of this request.

    Attributes:
        scorer: whose scores are kept and handed over; None where no policy reads any.
    """

    def __init__(self, inputs: Mapping[str, object], store: TowerStore) -> None:
        self._names = {id(value): name for name, value in inputs.items() if isinstance(value, Tensor)}
        self._inputs, self._store = inputs, store
        self._running = False
        self.scorer: Scorer | None = None

    def wrapped(self, inner: Callable[..., object], modality: Modality, name: str) -> Callable[..., object]:
        """A feature method, or a tower's forward, that runs where what it returns is not known."""
        signature = inspect.signature(inner)

        @functools.wraps(inner)  # generate() looks at the signature
        def remembering(*args: object, **kwargs: object) -> object:
            # One modality's method may be another one's way to the tower, which is kept under the first one's name.
            call = None if self._running else self._call(signature, modality, name, args, kwargs)
            if call is None:
                return inner(*args, **kwargs)
            known = self._known(call)
            return self._run(inner, call, args, kwargs) if known is None else known

        return remembering

    def _call(
        self,
        signature: inspect.Signature,
        modality: Modality,
        name: str,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> TowerCall | None:
        """What is asked for; None where an argument is neither a tensor nor plain, or too large a tensor."""
        arguments = signature.bind_partial(*args, **kwargs).arguments
        for parameter in signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(parameter.name, {}))
        inputs, settings = [], []
        for key, value in sorted(arguments.items()):
            if isinstance(value, Tensor):
                # A tensor made on the way (a dtype cast, a mask, a beam's copy) is known by what is in it.
                name_or_digest = self._names.get(id(value)) or _content(value)
                if name_or_digest is None:
                    return None
                inputs.append((key, name_or_digest))
            elif _is_plain(value):
                settings.append(f"{key}={value!r}")
            else:
                return None
        return TowerCall(modality, name, tuple(inputs), ", ".join(settings)) if inputs else None

    def _known(self, call: TowerCall) -> object:
        """What the store holds of a call; None unless that is all that is asked for."""
        wanted = set() if self.scorer is None else self.scorer.scores_wanted(call.modality)
        scores: dict[ScoreKey, Tensor] = {}
        for key in wanted:
            values = self._store.get(call.scored(key))
            if not isinstance(values, Tensor):
                return None
            scores[key] = values
        output = self._store.get(call)
        if output is None:
            return None
        if self.scorer is not None:
            self.scorer.scores_known(call.modality, scores)
        return _copied(output)

    def _run(
        self, inner: Callable[..., object], call: TowerCall, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        """Run the tower, and keep what comes of it."""
        self._running = True
        try:
            output = inner(*args, **kwargs)
        finally:
            self._running = False
        found: dict[TowerCall, object] = {call: _kept(output, call.modality)}
        if self.scorer is not None:
            taken = self.scorer.scores_taken(call.modality)
            found |= {call.scored(key): taken[key] for key in self.scorer.scores_wanted(call.modality) & taken.keys()}
        for key, value in found.items():
            if key not in self._store:
                self._store[key] = value
        return output


def tensor_digest(tensor: Tensor) -> str:
    """``sha256:`` and 32 hexadecimal digits over a tensor's dtype, shape and values."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}\0".encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return "sha256:" + digest.hexdigest()[:32]


def _content(tensor: Tensor) -> str | None:
    return tensor_digest(tensor) if tensor.nbytes <= HASHED_BYTES else None


def _is_plain(value: object) -> bool:
    """Whether a value's text says all of it."""
    if isinstance(value, list | tuple):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, bool | int | float | str)


def fields_of(output: ModelOutput) -> dict[str, object]:
    """All that an output holds, by name: its fields, and what was set on it beside them."""
    return {**vars(output), **dict(output.items())}


def with_fields(kind: type[ModelOutput], fields: Mapping[str, object]) -> ModelOutput:
    """An output of a class that holds what is given by name."""
    own = {field.name for field in dataclasses.fields(kind)}
    out = kind(**{name: value for name, value in fields.items() if name in own})
    for name in fields.keys() - own:
        setattr(out, name, fields[name])
    return out


def _kept(output: object, modality: Modality) -> object:
    """What is kept of an output: what a model hands on to its language model."""
    if not isinstance(output, ModelOutput):
        return output
    fields = {name: value for name, value in fields_of(output).items() if name not in _UNREAD and value is not None}
    if modality != "audio" and fields.get("pooler_output") is not None:
        fields.pop(_REPLACED, None)
    return with_fields(type(output), fields)


def _copied(output: object) -> object:
    """An output of its own: generate() writes into what it was given."""
    return with_fields(type(output), fields_of(output)) if isinstance(output, ModelOutput) else output


@contextmanager
def replaced_methods(methods: Iterable[tuple[nn.Module, str, Modality]], reuse: Reuse) -> Iterator[None]:
    """Have feature methods of a model's base ask what is kept first, until the block is left.

    Args:
        methods: base, name of its method or tower, and the modality that it encodes.
        reuse: what is kept.
    """
    wrapped: list[tuple[nn.Module, str, object]] = []
    for base, name, modality in methods:
        inner = getattr(base, name)
        # A tower that is called itself stays the module that it is: its model asks it for its device.
        holder, attribute = (inner, "forward") if isinstance(inner, nn.Module) else (base, name)
        wrapped.append((holder, attribute, holder.__dict__.get(attribute)))
        holder.__dict__[attribute] = reuse.wrapped(getattr(holder, attribute), modality, name)
    try:
        yield
    finally:
        for holder, attribute, before in wrapped:
            if before is None:
                del holder.__dict__[attribute]
            else:
                holder.__dict__[attribute] = before


def kept_methods(adapter: Adapter, model: nn.Module, policy: Policy) -> list[tuple[nn.Module, str, Modality]]:
    """Feature methods whose results a policy leaves as they are: base, name and modality."""
    base = adapter.base(model)
    return [
        (base, name, modality)
        for modality, name in adapter.feature_methods().items()
        if not reads_tower(policy, modality)
    ]
