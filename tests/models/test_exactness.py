"""Every family: keeping everything changes nothing, batches equal rows, FLOPs are counted."""

from __future__ import annotations

import itertools
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

from .attention import FLASH, attention, rows_under
from .building import installed_since
from .families import FAMILIES, Family
from .sampling import covering, modalities, of_each_modality, pairwise, spread

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

Case = tuple[str, str, str, str, int | None]
"""Family, modality, location, mechanism and layer."""


def offered(family: Family, modality: Any, location: Any, mechanism: str) -> bool:
    """Whether the family can run a mechanism there."""
    return bind(family.build()).refusal(MECHANISMS[mechanism], modality, location) is None


def standing(family: Family, mechanism: str, layer: int) -> int:
    """The decoder layer nearest to one in front of which the family can run a mechanism."""
    return bind(family.build()).depths.nearest_scored(layer, MECHANISMS[mechanism].scored_offset())


def places(names: tuple[str, ...]) -> list[Case]:
    """Family, modality, location, mechanism and layer of everything that is legal."""
    out: list[Case] = []
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
    assert tested == known
    built = {type(family.build()).__name__ for family in FAMILIES.values()}
    assert built >= {name for adapter in ADAPTERS if adapter.family in tested for name in adapter.architectures}


def under_flash() -> list[Any]:
    """Legal cases of the families that have flash attention; a few of each family and place in the default run."""
    legal = [c for c in places(MERGING_OR_SELECTING) if rows_under(FAMILIES[c[0]], FLASH)]
    return covering(spread(legal), lambda case: {case[0], case[1:3]})


def keeps_everything(case: Case, implementation: str) -> None:
    family = FAMILIES[case[0]]
    inputs = family.request(rows_under(family, implementation))
    with attention(family.build(), implementation):
        with torch.no_grad():
            expected = family.build()(**inputs).logits
        got, _ = logits(family, policy_of(*case[1:], 1.0), inputs)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("case", pairwise(places(MERGING_OR_SELECTING)))
def test_keep_everything_is_bit_equal(case: Case) -> None:
    keeps_everything(case, "sdpa")


@pytest.mark.parametrize("case", under_flash())
def test_keep_everything_is_bit_equal_under_flash_attention(case: Case) -> None:
    keeps_everything(case, FLASH)


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


def can_run(name: str, modality: Any, stage: tuple[str, str, int | None]) -> bool:
    """Whether a family can run a stage (location, mechanism, layer) on a modality."""
    return offered(FAMILIES[name], modality, stage[0], stage[1])


def under_flash_in_turn() -> list[Any]:
    """Ragged cases of the families that have flash attention; one of each family in the default run."""
    legal = [
        (name, modality, stage)
        for name, family in FAMILIES.items()
        for modality in modalities(family)
        for stage in RAGGED
        if rows_under(family, FLASH) and can_run(name, modality, stage)
    ]
    return covering(spread(legal), lambda case: {case[0], case[1]})


def rows_stay_apart(name: str, modality: Any, stage: tuple[str, str, int | None], implementation: str) -> None:
    family = FAMILIES[name]
    policy = policy_of(modality, *stage, 0.35)
    rows = rows_under(family, implementation)
    inputs = family.request(rows)
    model: Any = family.build()
    with attention(model, implementation):
        together, _ = logits(family, policy, inputs)
        with autotc.apply(model, policy):
            ids = model.generate(**inputs, max_new_tokens=6, do_sample=False, **PLAIN)
        ids = ids[:, inputs["input_ids"].shape[1] :]
        for i, row in enumerate(rows):
            one = family.request([row])
            alone, _ = logits(family, policy, one)
            n = min(alone.shape[1], together.shape[1]) if modality in row else int(one["attention_mask"].sum())
            torch.testing.assert_close(together[i, -n:], alone[0, -n:], atol=1e-4, rtol=1e-3)
            with autotc.apply(model, policy):
                out = model.generate(**one, max_new_tokens=6, do_sample=False, **PLAIN)[0, one["input_ids"].shape[1] :]
            assert ids[i, : len(out)].tolist() == out.tolist()


@pytest.mark.parametrize("case", of_each_modality(RAGGED, can_run))
def test_ragged_batch_equals_single_rows(case: tuple[str, Any, tuple[str, str, int | None]]) -> None:
    rows_stay_apart(*case, "sdpa")


@pytest.mark.parametrize("case", under_flash_in_turn())
def test_ragged_batch_equals_single_rows_under_flash_attention(
    case: tuple[str, Any, tuple[str, str, int | None]],
) -> None:
    rows_stay_apart(*case, FLASH)


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


def leaves_nothing_behind(name: str, implementation: str) -> None:
    family = FAMILIES[name]
    model: Any = family.build()
    inputs = family.request(rows_under(family, implementation))
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


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_everything_is_restored(name: str) -> None:
    leaves_nothing_behind(name, "sdpa")


@pytest.mark.parametrize("name", sorted(name for name, family in FAMILIES.items() if rows_under(family, FLASH)))
def test_everything_is_restored_under_flash_attention(name: str) -> None:
    with attention(FAMILIES[name].build(), FLASH):
        leaves_nothing_behind(name, FLASH)


@pytest.mark.parametrize("case", pairwise(places(MERGING_OR_SELECTING)))
def test_cost_agrees_with_the_profiler(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
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
