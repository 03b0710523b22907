"""Every family and every mechanism that only removes: removing tokens equals hiding them, in decoder and tower."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import autotc
from autotc.mechanisms import MECHANISMS
from autotc.mechanisms.contract import InputMechanism
from autotc.models import bind, find_adapter
from autotc.policy import Policy

from .attention import FLASH, attention, rows_under
from .families import FAMILIES, Family
from .references import entry, gone_from, masked, shortened
from .sampling import covering, spread
from .test_exactness import logits, places, policy_of

MERGING = (
    "a_tome",
    "affinity_pooling",
    "aim",
    "apet",
    "avg_pool",
    "dash_audio",
    "dymu",
    "dyntok",
    "earlytom_frames",
    "fastadasp",
    "fastvid",
    "ficoco",
    "flashvid",
    "folder",
    "framefusion",
    "frequency",
    "illava",
    "mustdrop",
    "omniscope_audio",
    "omnizip_audio",
    "pact_dbdpc",
    "pooled_query",
    "prumerge",
    "prunevid",
    "scissor",
    "slowfast",
    "sparsevlm",
    "strided_time",
    "sttm",
    "tango",
    "text_aware",
    "tokencarve",
    "tome",
    "trim",
    "unified_st",
    "visionzip",
    "vscan",
)
"""Mechanisms whose survivors may differ from the tokens they stand for; all the others only remove."""
REMOVING = tuple(
    name for name, cls in MECHANISMS.items() if name not in MERGING and not issubclass(cls, InputMechanism)
)
TOLERANCE = 1e-5
"""Largest difference allowed, relative to the largest logit, or feature, of the reference."""
LOOSER = {"qwen3_5_moe": 3e-5}
"""Families whose bare model gives one row alone and in a batch logits that differ by nearly the tolerance."""
Case = tuple[str, Any, Any, str, int | None, str]


def cases(locations: tuple[str, ...]) -> list[Any]:
    """Legal cases, under sdpa and under flash attention.

    The default run meets every mechanism at every location, and every place of every family; under flash attention
    every family and every modality and location.
    """
    legal = spread(case for case in places(REMOVING) if case[2] in locations)
    flash = [(*case, FLASH) for case in legal if rows_under(FAMILIES[case[0]], FLASH)]

    def parts(case: Any) -> Any:
        family, modality, location, mechanism, layer, implementation = case
        if implementation == FLASH:
            return {(FLASH, family), (FLASH, modality, location)}
        return {(location, mechanism), (family, modality, location, layer)}

    return covering([*((*case, "sdpa") for case in legal), *flash], parts)


def near(got: Tensor, expected: Tensor, family: str, scale: Tensor) -> None:
    """The difference is within the tolerance, relative to the largest number of ``scale``."""
    bound = LOOSER.get(family, TOLERANCE) * float(scale.abs().max())
    torch.testing.assert_close(got, expected, atol=bound, rtol=0)


def test_all_that_merge_are_told_apart() -> None:
    """A mechanism in the list has merged on some family; one that is not never does (see the tests below)."""
    assert {*MERGING} <= {*MECHANISMS}
    wanted = {*MERGING}
    for case in places(MERGING):
        if case[3] not in wanted:
            continue
        family = FAMILIES[case[0]]
        _, handle = logits(family, policy_of(*case[1:], 0.3), family.request(family.rows))
        if not all(reduction.is_selection for reduction in handle.last[case[1]].reductions):  # type: ignore[index]
            wanted.remove(case[3])
    assert not wanted


@pytest.mark.parametrize("case", cases(("projector", "decoder")))
def test_removing_equals_masking(case: Case) -> None:
    family, layer, implementation = FAMILIES[case[0]], case[4] or 0, case[5]
    rows = rows_under(family, implementation)
    inputs = family.request(rows)
    with attention(family.build(), implementation):
        got, handle = logits(family, policy_of(*case[1:5], 0.3), inputs)
    reductions = handle.last[case[1]].reductions
    assert reductions
    assert all(reduction.is_selection for reduction in reductions)
    gone = gone_from(family, handle, inputs, layer)
    pad = ~inputs["attention_mask"].bool()
    assert bool((gone < 99).any())
    with torch.no_grad():
        recurrent = bind(family.build()).depths.recurrent
        expected = shortened(family, inputs, gone) if recurrent else masked(family, inputs, gone)
    for row in range(len(rows)):
        kept = ((gone[row] == 99) & ~pad[row]).nonzero()[:, 0]
        near(got[row, -len(kept) :], expected[row, kept], case[0], expected[~pad])


def _entry_under(family: Family, policy: Policy, inputs: Any) -> tuple[Tensor, Any]:
    """Embeddings that reach the first layer under a policy, and what the handle says of the request."""
    model = family.build()
    caught: list[Tensor] = []
    adapter = find_adapter(model)
    with autotc.apply(model, policy) as handle, torch.no_grad():
        hook = adapter.layers(model)[0].register_forward_pre_hook(
            lambda m, a, k: caught.append(a[0] if a else k["hidden_states"]), with_kwargs=True
        )
        try:
            model(**inputs)
        finally:
            hook.remove()
        return caught[0], dict(handle.last)


def _hiding(adapter: Any, model: Any, modality: Any, rows: Tensor, block: int, patch: pytest.MonkeyPatch) -> list[Any]:
    """Have the blocks behind one not see rows of the tower's sequence; returns the hooks that count the blocks."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    state = {"block": -1, "row": 0, "total": 0}

    def enter(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        state.update(block=state["block"] + 1, row=0, total=hidden.numel() // hidden.shape[-1])

    def hide(module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any = None, *args: Any, **kwargs: Any) -> Any:
        size, total = k.shape[0] * k.shape[2], state["total"]
        kwargs.pop("attention_mask", None)
        if state["block"] < 0:  # in front of the blocks that count
            return sdpa_attention_forward(module, q, k, v, mask, *args, **kwargs)
        dead = torch.zeros(total, dtype=torch.bool)
        dead[rows] = True
        state["row"] %= total  # blocks behind the last that counts have no hook
        here = dead[state["row"] : state["row"] + size].view(k.shape[0], -1)
        state["row"] += size
        if state["block"] > block:
            alive = (~here)[:, None, None].expand(-1, 1, q.shape[2], -1)
            if mask is None or mask.dtype == torch.bool:
                mask = alive if mask is None else mask & alive
            else:
                mask = mask.masked_fill(~alive, torch.finfo(mask.dtype).min)
        return sdpa_attention_forward(module, q, k, v, mask, *args, **kwargs)

    patch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "hiding", hide)
    patch.setitem(ALL_MASK_ATTENTION_FUNCTIONS._global_mapping, "hiding", sdpa_mask)
    blocks = adapter.blocks(model, modality)
    tiled = adapter.tower_shape(model.config, modality).tiled
    inner = {name: part for name, part in blocks[0].named_children() if name in ("attn", "self_attn", "attention")}
    module: Any = adapter.block_attention(blocks[0]) if tiled else next(iter(inner.values()))
    patch.setattr(module.config, "_attn_implementation", "hiding")
    return [b.register_forward_pre_hook(enter, with_kwargs=True) for b in blocks]


@pytest.mark.parametrize("case", cases(("encoder",)))
def test_removing_in_the_tower_equals_masking_keys(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Survivors' features equal those of a tower in which blocks behind the stage do not see the removed rows."""
    family, modality, block = FAMILIES[case[0]], case[1], int(case[4] or 0)
    model: Any = family.build()
    adapter = find_adapter(model)
    rows = rows_under(family, case[5])
    inputs = family.request([row for row in rows if modality in row and len(set(row) & {*adapter.locations}) == 1])
    with attention(model, case[5]):
        reduced, tracks = _entry_under(family, policy_of(*case[1:5], 0.4), inputs)
    track = tracks[modality]
    assert track.reductions
    assert all(reduction.is_selection for reduction in track.reductions)
    unit_rows = adapter.unit_rows(model.config, modality, track.items)
    gone = torch.ones(len(unit_rows), dtype=torch.bool)
    start = 0
    for i, item in enumerate(track.items):
        gone[start + track.ids[i][track.valid[i]]] = False
        start += item.count
    assert bool(gone.any())
    hooks = _hiding(adapter, model, modality, unit_rows[gone].reshape(-1), block, monkeypatch)
    try:
        whole = entry(family, inputs)["inputs_embeds"]
    finally:
        monkeypatch.undo()
        for hook in hooks:
            hook.remove()
    placeholder = adapter.placeholders(model.config)[modality]
    unit = 0
    for i, item in enumerate(track.items):
        row = int(track.row[i])
        earlier = sum(other.slots for j, other in enumerate(track.items[:i]) if int(track.row[j]) == row)
        columns = (inputs["input_ids"][row] == placeholder).nonzero()[:, 0][earlier + item.offsets()]
        alive = ~gone[unit : unit + item.count]
        unit += item.count
        got = reduced[row, track.column[i][track.valid[i]]]
        near(got, whole[row, columns[alive]], case[0], whole)
