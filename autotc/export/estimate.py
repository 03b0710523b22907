"""FLOPs of a policy on a model that is known by its configuration alone: on one request of each modality."""

from __future__ import annotations

from autotc.cost import Request, prefill_cost
from autotc.lazy import torch
from autotc.models.bound import BoundAdapter
from autotc.policy import UNCOMPRESSED, Policy
from autotc.vocabulary import Modality

TOKENS = 1024
"""Media tokens of the request, as near as the family's sizes come."""
TEXT = 64
"""Its other tokens; half of them belong to the query span."""


class Estimate:
    """FLOPs ratios on a request of `TOKENS` tokens of one modality.

    Args:
        bound: adapter and configuration of the model.
    """

    def __init__(self, bound: BoundAdapter) -> None:
        self._bound = bound
        self._requests: dict[Modality, Request] = {}

    def __call__(self, policy: Policy, modality: Modality) -> float:
        """FLOPs relative to the uncompressed model.

        Raises:
            PolicyError: the model has no such modality.
        """
        if modality not in self._requests:
            media = self._bound.random_media(modality, TOKENS, torch.Generator().manual_seed(0))
            items = self._bound.geometry(modality, media.inputs)
            self._requests[modality] = Request(tuple(items), TEXT, TEXT // 2)
        request = self._requests[modality]
        touching = Policy(stages=policy.modality(modality))
        compressed, uncompressed = (prefill_cost(self._bound, p, [request]).total for p in (touching, UNCOMPRESSED))
        return compressed / uncompressed
