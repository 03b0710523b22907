"""What exactness is held against: the uncompressed decoder, with removed tokens hidden or its sequence shortened."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autotc.models import find_adapter
from autotc.runtime.apply import Handle

from .families import Family


def entry(family: Family, inputs: Any) -> dict[str, Any]:
    """What the language model gets: embeddings, positions and, where there is a deep stack, its features."""
    model = family.build()
    caught: dict[str, Any] = {}

    def catch(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        caught.update(kwargs)

    hook = find_adapter(model).language_model(model).register_forward_pre_hook(catch, with_kwargs=True)
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        hook.remove()
    given = ("inputs_embeds", "position_ids", "visual_pos_masks", "deepstack_visual_embeds", "per_layer_inputs")
    out = {name: caught[name] for name in given if caught.get(name) is not None}
    return {"position_ids": torch.arange(out["inputs_embeds"].shape[1])[None], **out}


def layer_masks(family: Family, inputs: Any) -> list[Tensor]:
    """What each token of each decoder layer sees in the uncompressed model, as it makes it: (B, 1, L, L) bool."""
    model = family.build()
    length = inputs["input_ids"].shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril().expand(len(inputs["input_ids"]), 1, -1, -1)
    masks: list[Tensor] = []

    def catch(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        mask = kwargs["attention_mask"]
        mask = causal if mask is None else mask
        masks.append((mask == 0) if mask.is_floating_point() else mask)

    hooks = [layer.register_forward_pre_hook(catch, with_kwargs=True) for layer in find_adapter(model).layers(model)]
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return masks


def masked(family: Family, inputs: Any, hidden_from: Tensor) -> Tensor:
    """Logits of the uncompressed decoder in which removed tokens are hidden as keys from their layer on."""
    model: Any = family.build()
    adapter = find_adapter(model)
    language: Any = adapter.language_model(model)
    given = entry(family, inputs)
    own = layer_masks(family, inputs)

    def mask_for(layer: int) -> Tensor:
        seen = own[layer] & ~(hidden_from <= layer)[:, None, None]
        return seen | torch.eye(seen.shape[-1], dtype=torch.bool)

    hooks = []
    for i, layer in enumerate(adapter.layers(model)):

        def swap(module: Any, args: Any, kwargs: dict[str, Any], i: int = i) -> Any:
            return args, kwargs | {"attention_mask": mask_for(i)}

        hooks.append(layer.register_forward_pre_hook(swap, with_kwargs=True))
    try:
        with torch.no_grad():
            out = language(**given, attention_mask=mask_for(0), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    result: Tensor = model.lm_head(out.last_hidden_state)
    return result


def shortened(family: Family, inputs: Any, hidden_from: Tensor) -> Tensor:
    """Logits of the uncompressed decoder, row by row, whose sequence is shorter from a layer on.

    What removing means for a layer that keeps a state: it never sees the token.
    """
    model: Any = family.build()
    adapter = find_adapter(model)
    language: Any = adapter.language_model(model)
    given, real = entry(family, inputs), inputs["attention_mask"].bool()
    where = given["position_ids"].expand(*given["position_ids"].shape[:-2], len(real), -1)
    out = torch.zeros(*real.shape, model.lm_head.out_features)
    for row in range(len(real)):
        alive = real[row].nonzero()[:, 0]
        hidden, positions = given["inputs_embeds"][row : row + 1, alive], where[..., row : row + 1, :]
        positions = positions if positions.dim() == 3 else positions.expand(3, 1, -1)
        for index, layer in enumerate(adapter.layers(model)):
            left = alive[hidden_from[row, alive] > index]
            hidden = hidden[:, torch.isin(alive, left)]
            alive = left
            rotary = language.rotary_emb(hidden, positions[-3:, ..., alive])
            causal = torch.ones(len(alive), len(alive), dtype=torch.bool).tril()[None, None]
            mask = None if index in adapter.depths(model.config).recurrent else causal
            hidden = layer(hidden, position_embeddings=rotary, attention_mask=mask)
        out[row, alive] = model.lm_head(language.norm(hidden))[0]
    return out


def gone_from(family: Family, handle: Handle, inputs: Any, layer: int) -> Tensor:
    """First layer from which each prompt token is gone, 99 if never."""
    out = torch.full(inputs["input_ids"].shape, 99)
    placeholders = handle._bound.placeholders
    taken = dict.fromkeys(placeholders, 0)
    for row in range(len(out)):
        for modality, track in handle.last.items():
            columns = (inputs["input_ids"][row] == placeholders[modality]).nonzero()[:, 0].tolist()
            while columns:
                i = taken[modality]
                taken[modality] += 1
                item = track.items[i]
                mine, columns = [columns[k] for k in item.offsets()], columns[item.slots :]
                kept = set(track.ids[i][track.valid[i]].tolist())
                for unit, column in enumerate(mine):
                    if unit not in kept and track.reductions:
                        out[row, column] = layer
    return out
