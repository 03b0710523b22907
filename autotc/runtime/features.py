"""Encode each request's media once: what the towers make of them does not depend on stages after the towers."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from autotc.mechanisms import TOWER_SCORES
from autotc.models import find_adapter
from autotc.policy import Policy
from autotc.vocabulary import Modality


def reads_tower(policy: Policy, modality: Modality) -> bool:
    """Whether a policy has to see the modality's tower run: input and encoder stages, and scores taken inside it."""
    return any(
        stage.location in ("input", "encoder")
        or (stage.location == "projector" and TOWER_SCORES & set(stage.build().needs))
        for stage in policy.modality(modality)
    )


@contextmanager
def cached_features(
    model: nn.Module, inputs: Mapping[str, Any], policy: Policy, store: MutableMapping[str, Any]
) -> Iterator[None]:
    """Take towers' outputs for these very inputs from ``store``, or put them there. Enter before applying the policy.

    Args:
        model: a supported model.
        inputs: the request; its tensors are recognised by identity.
        policy: what will be applied; modalities whose towers it has to see are left alone.
        store: one request's outputs, by name of the feature method and identity of its tensors.
    """
    adapter = find_adapter(model)
    base = adapter.base(model)
    of_request = {id(value) for value in inputs.values() if isinstance(value, Tensor)}
    wrapped: list[tuple[Any, str, Any]] = []
    for modality, name in adapter.feature_methods().items():
        if reads_tower(policy, modality):
            continue
        inner = getattr(base, name)
        # A tower that is called itself stays the module that it is: its model asks it for its device.
        holder, attribute = (inner, "forward") if isinstance(inner, nn.Module) else (base, name)
        wrapped.append((holder, attribute, holder.__dict__.get(attribute)))
        holder.__dict__[attribute] = _remembering(getattr(holder, attribute), name, of_request, store)
    try:
        yield
    finally:
        for holder, attribute, before in wrapped:
            if before is None:
                del holder.__dict__[attribute]
            else:
                holder.__dict__[attribute] = before


def _remembering(inner: Any, name: str, of_request: set[int], store: MutableMapping[str, Any]) -> Any:
    @functools.wraps(inner)
    def remembering(*args: Any, **kwargs: Any) -> Any:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        # A tensor made on the way (a dtype cast, a beam's copy) is not the request's: its identity says nothing.
        if not tensors or any(id(tensor) not in of_request for tensor in tensors):
            return inner(*args, **kwargs)
        # Some models encode a video by the method for images.
        key = ".".join([name, *(str(id(tensor)) for tensor in tensors)])
        if key not in store:
            store[key] = inner(*args, **kwargs)
        return store[key]

    return remembering
