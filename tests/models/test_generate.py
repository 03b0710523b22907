"""What ``generate()`` does under a policy equals one forward that is given the same tokens, for every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import autotc
from autotc.errors import InputsError
from autotc.models import find_adapter
from autotc.policy import Policy, Stage
from autotc.runtime.cache import CACHE

from .attention import FLASH, WITHOUT_FLASH, attention, rows_under
from .bare import BEAMS, EMBEDDINGS_DIFFER, EMBEDDINGS_REFUSED
from .families import FAMILIES, Family
from .sampling import of_each_modality

PLAIN: dict[str, Any] = {"suppress_tokens": [*range(20), 63]}
"""Text only: a placeholder that random weights make up would have no features."""


def policies(family: Family, modality: Any) -> dict[str, Policy]:
    """Stages whose choice does not depend on the text behind the media, at every location of the family."""
    config = family.build().config
    adapter = find_adapter(family.build())
    offered = adapter.offers(config)[modality]
    stages = {
        "projector": Stage(modality=modality, location="projector", mechanism="divprune", keep_ratio=0.4),
        "decoder": Stage(modality=modality, location="decoder", layer=2, mechanism="random", keep_ratio=0.4),
        "first": Stage(modality=modality, location="decoder", layer=0, mechanism="random", keep_ratio=0.4),
        "encoder": Stage(modality=modality, location="encoder", layer=0, mechanism="tome", keep_ratio=0.6),
    }
    stages = {name: stage for name, stage in stages.items() if stage.location in offered}
    out = {name: Policy.of([stage]) for name, stage in stages.items()}
    later = stages["decoder"].model_copy(update={"keep_ratio": 0.2})
    wide = stages["projector"].model_copy(update={"keep_ratio": 0.7})
    out["all"] = Policy.of([*([stages["encoder"]] if "encoder" in stages else []), wide, later])
    if "encoder" in stages:
        out["all"] = Policy.of([stages["encoder"].model_copy(update={"keep_ratio": 0.8}), wide, later])
    return out


def has_policy(name: str, modality: Any, policy: str) -> bool:
    """Whether a family can run the policy of a name on a modality."""
    return policy in policies(FAMILIES[name], modality)


CASES = of_each_modality(("projector", "decoder", "first", "encoder", "all"), has_policy)
Case = tuple[str, Any, str]
"""Family, modality, and what it is tried with."""


def extended(inputs: dict[str, Any], ids: Tensor) -> dict[str, Any]:
    """The request with tokens behind it."""
    shape = inputs["input_ids"].shape
    out = dict(inputs)
    for key, value in inputs.items():
        if isinstance(value, Tensor) and value.shape == shape and key not in ("feature_attention_mask",):
            more = ids if key == "input_ids" else torch.full_like(ids, int(key == "attention_mask"))
            out[key] = torch.cat([value, more.to(value.dtype)], 1)
    return out


def forced(family: Family, policy: Policy, inputs: dict[str, Any], ids: Tensor) -> Tensor:
    """Logits (B, T, V) that one forward gives for each of the tokens ``ids`` (B, T) behind a request."""
    with autotc.apply(family.build(), policy), torch.no_grad():
        out: Tensor = family.build()(**extended(inputs, ids)).logits
    return out[:, -ids.shape[1] - 1 : -1]


def generated(family: Family, policy: Policy, inputs: dict[str, Any], **kwargs: Any) -> tuple[Any, Tensor]:
    model: Any = family.build()
    with autotc.apply(model, policy), torch.no_grad():
        out = model.generate(**inputs, return_dict_in_generate=True, output_logits=True, **PLAIN, **kwargs)
    return out, out.sequences[:, inputs["input_ids"].shape[1] :]


@pytest.mark.parametrize("case", CASES)
def test_greedy_steps_equal_one_forward(case: Case) -> None:
    family = FAMILIES[case[0]]
    policy, inputs = policies(family, case[1])[case[2]], family.request(family.rows)
    out, ids = generated(family, policy, inputs, max_new_tokens=16, min_new_tokens=16, do_sample=False)
    torch.testing.assert_close(torch.stack(out.logits, 1), forced(family, policy, inputs, ids), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("case", of_each_modality(["all"]))
def test_sampling_and_beams(case: Case) -> None:
    name, modality, which = case
    family = FAMILIES[name]
    policy, inputs = policies(family, modality)[which], family.request(family.rows)
    torch.manual_seed(3)
    out, ids = generated(family, policy, inputs, max_new_tokens=6, min_new_tokens=6, do_sample=True, top_k=0)
    torch.testing.assert_close(torch.stack(out.logits, 1), forced(family, policy, inputs, ids), atol=2e-4, rtol=1e-3)
    model: Any = family.build()
    # generate() of some classes repeats clips, or pictures, one by one: rows with several would get each other's, also
    # without a policy; some cannot repeat videos at all.
    apart = ("audio", "image") if name.startswith("glm") else ("audio",)
    rows = [row for row in family.rows if all(len(row.get(kind, ())) < 2 for kind in apart)]
    if name == "voxtral":  # whose clips are of several windows
        rows = [row for row in rows if row.get("audio", [1]) == [1]]
    inputs = family.request(rows)
    if name in BEAMS:
        with torch.no_grad(), pytest.raises(ValueError, match="non-empty list"):
            model.generate(**inputs, num_beams=3, max_new_tokens=1, do_sample=False, **PLAIN)
        return
    with autotc.apply(model, policy), torch.no_grad():
        out = model.generate(
            **inputs,
            return_dict_in_generate=True,
            output_scores=True,
            num_beams=3,
            max_new_tokens=5,
            min_new_tokens=5,
            length_penalty=0.0,
            do_sample=False,
            **PLAIN,
        )
    ids = out.sequences[:, inputs["input_ids"].shape[1] :]
    likely = forced(family, policy, inputs, ids).log_softmax(-1).gather(2, ids[..., None])[..., 0].sum(1)
    torch.testing.assert_close(out.sequences_scores, likely, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("whole", [True, False], ids=["all tokens passed", "new tokens passed"])
@pytest.mark.parametrize("case", CASES)
def test_a_second_turn_on_the_same_cache(case: Case, whole: bool) -> None:
    family = FAMILIES[case[0]]
    model: Any = family.build()
    # One row: what a family's positions make of a padded second turn is its own affair.
    row = next(row for row in reversed(family.rows) if case[1] in row)
    policy, inputs = policies(family, case[1])[case[2]], family.request([row])
    turn = torch.tensor([[21, 24, 22, 25, 23]])
    with autotc.apply(model, policy), torch.no_grad():
        first = model.generate(
            **inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False, return_dict_in_generate=True, **PLAIN
        )
        so_far = torch.cat([first.sequences, turn], 1)
        second = model.generate(
            input_ids=so_far if whole else so_far[:, -turn.shape[1] - 1 :],
            attention_mask=torch.ones_like(so_far),
            **{CACHE: first[CACHE]},
            max_new_tokens=3,
            min_new_tokens=3,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
            **PLAIN,
        )
    ids = second.sequences[:, -3:]
    between = torch.cat([first.sequences[:, inputs["input_ids"].shape[1] :], turn, ids], 1)
    expected = forced(family, policy, inputs, between)[:, -3:]
    torch.testing.assert_close(torch.stack(second.logits, 1), expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("case", of_each_modality(["projector"]))
def test_callers_with_embeddings(case: Case) -> None:
    name, modality, which = case
    family = FAMILIES[name]
    model: Any = family.build()
    policy, inputs = policies(family, modality)[which], family.request(family.rows)
    with autotc.apply(model, policy), torch.no_grad():
        expected = model(**inputs).logits
    given = {key: value for key, value in inputs.items() if key != "input_ids"}
    given["inputs_embeds"] = model.get_input_embeddings()(inputs["input_ids"]).detach()
    if name in EMBEDDINGS_REFUSED:
        with torch.no_grad(), pytest.raises(ValueError, match="features and video tokens do not match"):
            model(**given)
        return
    with torch.no_grad():
        plain = model(**given).logits
    with torch.no_grad():
        same = torch.equal(plain, model(**inputs).logits)
    assert same == (name not in EMBEDDINGS_DIFFER)
    with autotc.apply(model, policy), torch.no_grad():
        got = model(**given).logits
    if same:
        assert got.shape == expected.shape
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    if same and modality != "audio":
        asking = Policy.of([Stage(modality=modality, location="projector", mechanism="cdpruner", keep_ratio=0.5)])
        with autotc.apply(model, asking), torch.no_grad(), pytest.raises(InputsError, match="cdpruner reads the query"):
            model(**given)


@pytest.mark.parametrize("case", of_each_modality([torch.bfloat16, torch.float16]))
def test_half_precision(case: tuple[str, Any, torch.dtype]) -> None:
    name, modality, dtype = case
    family = FAMILIES[name]
    model: Any = family.build()
    inputs = family.request(family.rows)
    half = {k: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in inputs.items()}
    keep = Policy.of([Stage(modality=modality, location="decoder", layer=2, mechanism="fastv", keep_ratio=1.0)])
    model.to(dtype)
    try:
        with torch.no_grad():
            plain = model(**half).logits
        with autotc.apply(model, keep), torch.no_grad():
            assert torch.equal(model(**half).logits, plain)
        for policy in policies(family, modality).values():
            with autotc.apply(model, policy) as handle, torch.no_grad():
                out = model.generate(**half, max_new_tokens=3, min_new_tokens=3, do_sample=False, **PLAIN)
                assert out.shape == (len(family.rows), inputs["input_ids"].shape[1] + 3)
                assert handle.stats[-1]
    finally:
        model.to(torch.float32)
        family.build.cache_clear()  # type: ignore[attr-defined]


def runs_under(name: str, modality: Any, implementation: str) -> bool:
    """Whether a family's bare model computes under an attention what it computes under sdpa, for a modality."""
    return any(modality in row for row in rows_under(FAMILIES[name], implementation))


BLOCK_MASKS = ("qwen2_audio", "smolvlm", "idefics3")
"""Families whose tower masks its padding; flex attention keeps that mask in a form that only it reads."""


@pytest.mark.parametrize("case", of_each_modality(["eager", FLASH, "flex_attention"], runs_under))
def test_any_attention_gives_the_same(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The implementation stays; under it keeping all is bit-equal, and a policy gives what it gives under sdpa."""
    import transformers.integrations.flex_attention as flex
    from torch.nn.attention.flex_attention import flex_attention

    # Without a compiler for the CPU's kernels, the same function runs as it is written.
    monkeypatch.setattr(
        flex, "compile_friendly_flex_attention", lambda *a, training=False, **k: flex_attention(*a, **k)
    )
    name, modality, implementation = case
    family = FAMILIES[name]
    model: Any = family.build()
    inputs = family.request(rows_under(family, implementation))
    keep = Policy.of([Stage(modality=modality, location="decoder", layer=2, mechanism="fastv", keep_ratio=1.0)])
    with torch.no_grad():
        usual = model(**inputs).logits
        with attention(model, implementation):
            plain = model(**inputs).logits
            with autotc.apply(model, keep):
                assert torch.equal(model(**inputs).logits, plain)
            used = {str(m.config._attn_implementation) for m in model.modules() if hasattr(m, "config")}
            assert used == {implementation}
    valid = inputs["attention_mask"].bool()
    torch.testing.assert_close(plain[valid], usual[valid], atol=1e-3, rtol=1e-3)
    told: dict[str, Any] = {"return_dict_in_generate": True, "output_logits": True, "do_sample": False, **PLAIN}
    for policy in policies(family, modality).values():
        with autotc.apply(model, policy), torch.no_grad():
            expected = model.generate(**inputs, max_new_tokens=4, **told)
        with attention(model, implementation), autotc.apply(model, policy), torch.no_grad():
            unread = name in BLOCK_MASKS and implementation == "flex_attention"
            if unread and policy.stages[0].location == "encoder":
                with pytest.raises(InputsError, match="masks of BlockMask in the tower"):
                    model.generate(**inputs, max_new_tokens=4, **told)
                continue
            got = model.generate(**inputs, max_new_tokens=4, **told)
        assert torch.equal(got.sequences, expected.sequences)
        torch.testing.assert_close(torch.stack(got.logits), torch.stack(expected.logits), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", sorted(WITHOUT_FLASH))
def test_windows_are_refused_under_flash_attention(name: str) -> None:
    """Flash attention counts a window in the tokens that it holds; where nothing goes the model does what it does."""
    family = FAMILIES[name]
    model: Any = family.build()
    inputs = family.request([row for row in family.rows if "audio" not in row])
    with attention(model, FLASH), torch.no_grad():
        plain = model(**inputs).logits
        keep = Policy.of([Stage(modality="image", location="decoder", layer=2, mechanism="random", keep_ratio=1.0)])
        with autotc.apply(model, keep):
            assert torch.equal(model(**inputs).logits, plain)
        for policy in policies(family, "image").values():
            with (
                autotc.apply(model, policy),
                pytest.raises(InputsError, match="counts the sliding window of 12 in tokens left"),
            ):
                model(**inputs)
