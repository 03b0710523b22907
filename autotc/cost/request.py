"""Shapes of requests: what a prompt holds, before a policy and behind its input stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from autotc.mechanisms.transformation.downsample import Downsample
from autotc.models import BoundAdapter, Item
from autotc.models.media import Shrink
from autotc.policy import Policy


@dataclass(frozen=True)
class Request:
    """Shape of one request.

    Attributes:
        items: its media, uncompressed.
        text: its other tokens: text, template and delimiters.
        query: those of them that belong to the query span.
    """

    items: tuple[Item, ...]
    text: int
    query: int = 0

    @property
    def tokens(self) -> int:
        """Length of the uncompressed prompt."""
        return self.text + sum(item.count for item in self.items)


def request_shapes(bound: BoundAdapter, inputs: Mapping[str, Any]) -> tuple[Request, ...]:
    """Shapes of a batch's rows, from what the model is called with.

    Args:
        bound: of the model.
        inputs: the model's arguments, with ``input_ids`` and ``attention_mask``, both (B, L).
    """
    placeholders = bound.placeholders
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    owned: list[list[Item]] = [[] for _ in range(len(ids))]
    text = mask.sum(1).tolist()
    for modality, name in bound.adapter.shape_inputs().items():
        if inputs.get(name) is None:
            continue
        # Items come in the order of the batch: each belongs to the first row whose placeholders are not all taken.
        left = (ids == placeholders[modality]).sum(1).tolist()
        row = 0
        for item in bound.geometry(modality, inputs):
            while left[row] == 0:
                row += 1
            owned[row].append(item)
            left[row] -= item.slots
            text[row] -= item.count
    query = bound.query_mask(ids, mask).sum(1).tolist()
    return tuple(Request(tuple(items), n, q) for items, n, q in zip(owned, text, query, strict=True))


def shrunk(bound: BoundAdapter, policy: Policy, request: Request) -> Request:
    """The request as the policy's input stages leave it, words that stand for media included."""
    items, text = list(request.items), request.text
    for stage in policy.stages:
        members = [item for item in items if item.modality == stage.modality]
        if stage.location != "input" or not members:
            continue
        mechanism = stage.build()
        assert isinstance(mechanism, Downsample)  # the only mechanism at the input
        fewer = bound.shrink(members, Shrink(mechanism, stage.final_ratio))
        text += sum(item.structure for item in fewer) - sum(item.structure for item in members)
        items = [item for item in items if item.modality != stage.modality] + fewer
    return replace(request, items=tuple(items), text=text)
