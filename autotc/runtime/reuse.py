"""A policy on one request whose media may have been encoded before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from autotc.models import find_adapter
from autotc.policy import Policy
from autotc.runtime.apply import Handle, apply
from autotc.runtime.features import Reuse, TowerStore, kept_methods, replaced_methods
from autotc.runtime.steps import Observer


@contextmanager
def applied(
    model: nn.Module, policy: Policy, inputs: Mapping[str, Any], store: TowerStore, observer: Observer | None = None
) -> Iterator[Handle]:
    """Apply a policy; its towers run on these inputs where the store does not hold what they make of them.

    That is what they return, and the scores that projector stages read inside them. Modalities with input or encoder
    stages are always encoded.

    Args:
        model: a supported model.
        policy: to apply.
        inputs: of the calls within; their tensors are recognised by identity.
        store: of these inputs, whose contents must never change.
        observer: as of `autotc.apply`.
    """
    reuse = Reuse(inputs, store)
    methods = kept_methods(find_adapter(model), model, policy)
    # What is kept is asked from within the policy, which has to know that a modality is being encoded.
    with replaced_methods(methods, reuse), apply(model, policy, observer) as handle:
        reuse.scorer = handle.scorer
        yield handle
