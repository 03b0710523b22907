"""Every family: keeping everything changes nothing, removing equals masking, batches equal rows, FLOPs are counted."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import autotc
from autotc.cost import Request, prefill_cost
from autotc.mechanisms import MECHANISMS
from autotc.models import ADAPTERS, bind, find_adapter
from autotc.models.published import PUBLISHED, published_config
from autotc.policy import Policy, Stage
from autotc.runtime.apply import Handle
from autotc.runtime.cache import CACHE
from tests.runtime.helpers import snapshot
from tests.test_cost import SDPA

from .building import installed_since
from .families import FAMILIES, Family
from .references import entry, gone_from, masked, shortened

MERGING_OR_SELECTING = (
    "random",
    "divprune",
    "tome",
    "visionzip",
    "fastv",
    "pyramiddrop",
    "cdpruner",
    "cls_attention",
    "hiprune",
    "evs",
    "prumerge",
    "sparsevlm",
    "fitprune",
    "attention_rank",
    "pact_dbdpc",
    "dart",
    "ivc_prune",
    "avg_pool",
    "rep_shift",
    "folder",
)
SELECTORS = ("random", "divprune", "fastv", "pyramiddrop", "cdpruner", "cls_attention", "evs", "fitprune", "dart")


def offered(family: Family, modality: Any, location: Any, mechanism: str) -> bool:
    """Whether the family can run a mechanism there."""
    return bind(family.build()).refusal(MECHANISMS[mechanism], modality, location) is None


def standing(family: Family, mechanism: str, layer: int) -> int:
    """The decoder layer nearest to one in front of which the family can run a mechanism."""
    return bind(family.build()).depths.nearest_scored(layer, MECHANISMS[mechanism].scored_offset())


def places(names: tuple[str, ...]) -> list[tuple[str, str, str, str, int | None]]:
    """Family, modality, location, mechanism and layer of everything that is legal."""
    out: list[tuple[str, str, str, str, int | None]] = []
    for key, family in FAMILIES.items():
        adapter = find_adapter(family.build())
        for modality, locations in adapter.offers(family.build().config).items():
            for name, location in itertools.product(names, locations) if family.holds(modality) else ():
                cls = MECHANISMS[name]
                if location == "input" or location not in cls.locations or modality not in cls.modalities:
                    continue
                if not offered(family, modality, location, name):
                    continue
                depths, offset = adapter.depths(family.build().config), cls.scored_offset()
                decoder = dict.fromkeys(depths.nearest_scored(layer, offset) for layer in (1, 2))
                layers = {"encoder": (0, depths.encoder[modality] - 1), "decoder": decoder}.get(location, (None,))
                out += [(key, modality, location, name, layer) for layer in layers]
    return out


def pairwise(cases: Iterable[Any]) -> list[Any]:
    """The cases by name; those that meet no new pair of family, mechanism and place are left to the full run."""
    seen: set[tuple[Any, ...]] = set()
    out = []
    for case in cases:
        family, modality, location, mechanism, layer = case
        place = (modality, location, layer)
        pairs = {(family, mechanism), (family, place), (mechanism, place)}
        marks = () if pairs - seen else (pytest.mark.full,)
        seen |= pairs
        out.append(pytest.param(case, id="-".join(map(str, case)), marks=marks))
    return out


def _count_solve(system: Any, right: Any, *args: Any, **kwargs: Any) -> int:
    """FLOPs of triangular systems (..., C, C) solved for (..., C, D): half of the system's C x C take part."""
    return int(torch.Size(right).numel()) * int(system[-1])


COUNTED = {**SDPA, torch.ops.aten.linalg_solve_triangular: _count_solve}


def policy_of(modality: str, location: str, name: str, layer: int | None, keep: float) -> Policy:
    stage = {"modality": modality, "location": location, "mechanism": name, "layer": layer, "keep_ratio": keep}
    return Policy.model_validate({"stages": [stage]})


def logits(family: Family, policy: Policy, inputs: Any) -> tuple[Tensor, Handle]:
    with autotc.apply(family.build(), policy) as handle, torch.no_grad():
        return family.build()(**inputs).logits, handle


def test_every_family_is_known() -> None:
    tested = {find_adapter(family.build()).family for family in FAMILIES.values()}
    known = {adapter.family for adapter in ADAPTERS if adapter.since is None or installed_since(adapter.since)}
    assert tested | {"qwen2_5_omni"} == known | {"qwen2_5_omni"}  # tests/runtime has the embedded model
    built = {type(family.build()).__name__ for family in FAMILIES.values()}
    assert built >= {name for adapter in ADAPTERS if adapter.family in tested for name in adapter.architectures}


@pytest.mark.parametrize("case", pairwise(places(MERGING_OR_SELECTING)))
def test_keep_everything_is_bit_equal(case: tuple[str, str, str, str, int | None]) -> None:
    family = FAMILIES[case[0]]
    inputs = family.request(family.rows)
    with torch.no_grad():
        expected = family.build()(**inputs).logits
    got, _ = logits(family, policy_of(*case[1:], 1.0), inputs)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("case", pairwise(c for c in places(SELECTORS) if c[2] in ("projector", "decoder")))
def test_removing_equals_masking(case: tuple[str, str, str, str, int | None]) -> None:
    family, layer = FAMILIES[case[0]], case[4] or 0
    inputs = family.request(family.rows)
    got, handle = logits(family, policy_of(*case[1:], 0.3), inputs)
    assert handle.last[case[1]].reductions  # type: ignore[index]
    gone = gone_from(family, handle, inputs, layer)
    pad = ~inputs["attention_mask"].bool()
    with torch.no_grad():
        recurrent = bind(family.build()).depths.recurrent
        expected = shortened(family, inputs, gone) if recurrent else masked(family, inputs, gone)
    for row in range(len(family.rows)):
        kept = ((gone[row] == 99) & ~pad[row]).nonzero()[:, 0]
        torch.testing.assert_close(got[row, -len(kept) :], expected[row, kept], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "case",
    [c for c in places(("random", "divprune")) if c[2] == "encoder"],
    ids=lambda c: "-".join(map(str, c)),
)
def test_removing_in_the_tower_equals_masking_keys(
    case: tuple[str, str, str, str, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Survivors' features equal those of a tower in which blocks behind the stage do not see the removed rows."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    family, modality, block = FAMILIES[case[0]], case[1], int(case[4] or 0)
    model: Any = family.build()
    adapter = find_adapter(model)
    inputs = family.request(
        [row for row in family.rows if modality in row and len(set(row) & {*adapter.locations}) == 1]
    )
    with autotc.apply(model, policy_of(*case[1:], 0.4)) as handle, torch.no_grad():
        model(**inputs)
        track = handle.last[modality]  # type: ignore[index]
    embeds_reduced = _entry_under(family, policy_of(*case[1:], 0.4), inputs)
    rows = adapter.unit_rows(model.config, modality, track.items)  # type: ignore[arg-type]
    gone = torch.ones(len(rows), dtype=torch.bool)
    start = 0
    for i, item in enumerate(track.items):
        gone[start + track.ids[i][track.valid[i]]] = False
        start += item.count
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
        dead[rows[gone].reshape(-1)] = True
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

    blocks = adapter.blocks(model, modality)  # type: ignore[arg-type]
    hooks = [b.register_forward_pre_hook(enter, with_kwargs=True) for b in blocks]
    tiled = adapter.tower_shape(model.config, modality).tiled  # type: ignore[arg-type]
    inner = {name: part for name, part in blocks[0].named_children() if name in ("attn", "self_attn", "attention")}
    attention: Any = adapter.block_attention(blocks[0]) if tiled else next(iter(inner.values()))
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "hiding", hide)
    monkeypatch.setitem(ALL_MASK_ATTENTION_FUNCTIONS._global_mapping, "hiding", sdpa_mask)
    before = attention.config._attn_implementation
    attention.config._attn_implementation = "hiding"
    try:
        whole = entry(family, inputs)["inputs_embeds"]
    finally:
        attention.config._attn_implementation = before
        for hook in hooks:
            hook.remove()
    placeholder = adapter.placeholders(model.config)[modality]  # type: ignore[index]
    unit = 0
    for i, item in enumerate(track.items):
        row = int(track.row[i])  # type: ignore[index]
        earlier = sum(other.slots for j, other in enumerate(track.items[:i]) if int(track.row[j]) == row)  # type: ignore[index]
        columns = (inputs["input_ids"][row] == placeholder).nonzero()[:, 0][earlier + item.offsets()]
        alive = ~gone[unit : unit + item.count]
        unit += item.count
        got = embeds_reduced[row, track.column[i][track.valid[i]]]  # type: ignore[index]
        torch.testing.assert_close(got, whole[row, columns[alive]], atol=2e-5, rtol=1e-4)


def _entry_under(family: Family, policy: Policy, inputs: Any) -> Tensor:
    """Embeddings that reach the first layer under a policy."""
    model = family.build()
    caught: list[Tensor] = []
    adapter = find_adapter(model)
    with autotc.apply(model, policy), torch.no_grad():
        hook = adapter.layers(model)[0].register_forward_pre_hook(
            lambda m, a, k: caught.append(a[0] if a else k["hidden_states"]), with_kwargs=True
        )
        try:
            model(**inputs)
        finally:
            hook.remove()
    return caught[0]


def main_modality(family: Family) -> Any:
    """The family's first modality."""
    return next(modality for modality in find_adapter(family.build()).locations if family.holds(modality))


PLAIN: dict[str, Any] = {"suppress_tokens": [*range(20)]}
"""Text only: a placeholder that random weights make up would have no features."""
RAGGED = [
    ("projector", "divprune", None),
    ("projector", "visionzip", None),
    ("encoder", "tome", 0),
    ("decoder", "fastv", 2),
    ("decoder", "pyramiddrop", 1),
    ("decoder", "random", 0),
]


@pytest.mark.parametrize("stage", RAGGED, ids=lambda s: "-".join(map(str, s)))
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_ragged_batch_equals_single_rows(name: str, stage: tuple[str, str, int | None]) -> None:
    family = FAMILIES[name]
    modality = main_modality(family)
    if not offered(family, modality, stage[0], stage[1]):
        pytest.skip(f"{name} offers no {stage[1]} at the {stage[0]}")
    policy = policy_of(modality, *stage, 0.35)
    inputs = family.request(family.rows)
    together, _ = logits(family, policy, inputs)
    model: Any = family.build()
    with autotc.apply(model, policy):
        ids = model.generate(**inputs, max_new_tokens=6, do_sample=False, **PLAIN)[:, inputs["input_ids"].shape[1] :]
    for i, row in enumerate(family.rows):
        one = family.request([row])
        alone, _ = logits(family, policy, one)
        n = min(alone.shape[1], together.shape[1]) if modality in row else int(one["attention_mask"].sum())
        torch.testing.assert_close(together[i, -n:], alone[0, -n:], atol=1e-4, rtol=1e-3)
        with autotc.apply(model, policy):
            out = model.generate(**one, max_new_tokens=6, do_sample=False, **PLAIN)[0, one["input_ids"].shape[1] :]
        assert ids[i, : len(out)].tolist() == out.tolist()


def test_decoding_without_position_ids_goes_on_from_the_prompt() -> None:
    """Steps over the shorter cache equal one prefill that forces the same tokens; families with M-RoPE need them."""
    family = FAMILIES["llava"]
    model: Any = family.build()
    inputs = family.request(family.rows[:1])
    forced = torch.tensor([[21, 22, 23]])
    longer = {**inputs, "input_ids": torch.cat([inputs["input_ids"], forced], 1)}
    longer["attention_mask"] = torch.ones_like(longer["input_ids"])
    policy = policy_of("image", "projector", "divprune", None, 0.3)
    with autotc.apply(model, policy), torch.no_grad():
        expected = model(**longer).logits[:, -3:]
        first = model(**inputs, use_cache=True)
        steps = model(input_ids=forced, attention_mask=longer["attention_mask"], **{CACHE: first[CACHE]}).logits
    torch.testing.assert_close(steps, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_everything_is_restored(name: str) -> None:
    family = FAMILIES[name]
    model: Any = family.build()
    inputs = family.request(family.rows)
    with torch.no_grad():
        plain = model(**inputs, output_hidden_states=True).logits
    before = snapshot(model)
    modality = main_modality(family)
    scored = "visionzip" if offered(family, modality, "projector", "visionzip") else "divprune"
    stages = [
        Stage(modality=modality, location="encoder", layer=0, mechanism="tome", keep_ratio=0.8),
        Stage(modality=modality, location="projector", mechanism=scored, keep_ratio=0.5),  # type: ignore[arg-type]
        Stage(modality=modality, location="decoder", layer=2, mechanism="fastv", keep_ratio=0.2),
    ]
    policy = Policy.of([s for s in stages if offered(family, modality, s.location, s.mechanism)])
    with autotc.apply(model, policy), torch.no_grad():
        model(**inputs)
        model.generate(**inputs, max_new_tokens=2, **PLAIN)
    assert snapshot(model) == before
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, plain)


@pytest.mark.parametrize("case", pairwise(places(MERGING_OR_SELECTING)))
def test_cost_agrees_with_the_profiler(
    case: tuple[str, str, str, str, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    family = FAMILIES[case[0]]
    model: Any = family.build()
    adapter = find_adapter(model)
    row = next(r for r in family.rows if case[1] in r)
    inputs = family.request([row])
    items = [
        item
        for modality, name in adapter.shape_inputs().items()
        if name in inputs
        for item in adapter.geometry(model.config, modality, inputs)
    ]
    query = int(adapter.query_mask(model.config, inputs["input_ids"], inputs["attention_mask"]).sum())
    text = inputs["input_ids"].shape[1] - sum(item.count for item in items)  # newlines and the like among it
    for policy in (Policy(), policy_of(*case[1:], 0.4)):
        # Experts one by one are counted as matrix products; the counter does not know their grouped kernel.
        config = model.config.get_text_config()
        monkeypatch.setattr(config, "_experts_implementation_internal", "eager", raising=False)
        counter = FlopCounterMode(display=False, custom_mapping=COUNTED)
        with torch.no_grad(), autotc.apply(model, policy), counter:
            model(**inputs)
        cost = prefill_cost(bind(model), policy, [Request(tuple(items), text, query)])
        assert cost.total == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize(("name", "last", "middle"), [("llava-1.5-7b", 22, 8), ("qwen2.5-vl-7b", 31, 15)])
def test_scores_come_from_the_published_blocks(name: str, last: int, middle: int) -> None:
    config = published_config(name)
    adapter = next(a for a in ADAPTERS if PUBLISHED[name][0] in a.architectures)
    assert adapter.score_block(config, "image", "cls_attention") == last
    assert adapter.score_block(config, "image", "middle_attention") == middle


def test_class_attention_is_the_class_tokens_row() -> None:
    family = FAMILIES["llava"]
    model: Any = family.build()
    inputs = family.request(family.rows[:2])
    given: list[Any] = []
    policy = policy_of("image", "projector", "cls_attention", None, 0.5)
    with autotc.apply(model, policy, observer=lambda seen: given.append(seen)), torch.no_grad():
        model(**inputs)
    tower = model.model.vision_tower
    before = tower.config._attn_implementation
    tower.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            block = find_adapter(model).score_block(model.config, "image", "cls_attention")
            weights = tower(inputs["pixel_values"], output_attentions=True).attentions[block]
    finally:
        tower.set_attn_implementation(before)
    expected = weights.mean(1)[:, 0, 1:]
    expected = expected / expected.sum(1, keepdim=True)
    torch.testing.assert_close(given[0].scores["cls_attention"], expected, atol=1e-6, rtol=1e-4)
