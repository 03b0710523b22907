"""Removing equals masking; keeping everything changes nothing; batches equal single rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import autotc
from autotc.mechanisms import MECHANISMS
from autotc.policy import Policy, Stage
from autotc.runtime.apply import Handle
from autotc.runtime.cache import CACHE
from autotc.runtime.tracks import Track
from tests.runtime.helpers import embeddings, masked_logits, media, model, processor, request, single

ROWS = [
    media(1, image=128),
    media(2, image=96, audio=1.5),
    media(3, video=6),
    {},
    media(4, video=4, audio=1.23),
]
LAYERS = {"input": None, "projector": None, "encoder": 0, "decoder": 2}
SELECTORS = (
    "random",
    "uniform_stride",
    "divprune",
    "fastv",
    "pyramiddrop",
    "rep_shift",
    "cdpruner",
    "text_similarity",
    "evs",
)


def places() -> list[tuple[str, str, str]]:
    """Every legal modality x location x mechanism of the family."""
    return [
        (modality, location, name)
        for name, cls in MECHANISMS.items()
        for modality in cls.modalities
        for location in cls.locations
    ]


@pytest.fixture(scope="module")
def inputs() -> Any:
    return request(ROWS)


def logits(policy: Policy, inputs: Any) -> tuple[Tensor, Handle]:
    with autotc.apply(model(), policy) as handle, torch.no_grad():
        return model()(**inputs).logits, handle


@pytest.mark.parametrize(("modality", "location", "name"), places())
def test_keep_everything_is_bit_equal(modality: str, location: str, name: str) -> None:
    policy = single(modality, location, name, 1.0, LAYERS[location])
    rows = [media(1, image=64), media(2, video=4, audio=1.0), {}]
    plain = request(rows)
    prepared = request(rows, call=autotc.configure(processor(), policy))
    with torch.no_grad():
        expected = model()(**plain).logits
    got, _ = logits(policy, prepared)
    assert torch.equal(got, expected)


def hidden_from(handle: Handle, inputs: Any, layer: int) -> Tensor:
    """First layer from which each prompt token is gone, 99 if never."""
    out = torch.full(inputs["input_ids"].shape, 99)
    ids = {"image": 9, "video": 10, "audio": 11}
    for modality, track in handle.last.items():
        if not track.reductions:
            continue
        for i in range(len(track.items)):
            row = int(track.row[i])
            columns = (inputs["input_ids"][row] == ids[modality]).nonzero()[:, 0]
            kept = set(track.ids[i][track.valid[i]].tolist())
            for unit, column in enumerate(columns.tolist()):
                if unit not in kept:
                    out[row, column] = layer
    return out


@pytest.mark.parametrize(
    ("modality", "location", "name"),
    [p for p in places() if p[2] in SELECTORS and p[1] in ("projector", "decoder")],
)
def test_removing_equals_masking(modality: str, location: str, name: str, inputs: Any) -> None:
    layer = LAYERS[location]
    got, handle = logits(single(modality, location, name, 0.3, layer), inputs)
    assert handle.last[modality].reductions
    gone = hidden_from(handle, inputs, layer or 0)
    pad = ~inputs["attention_mask"].bool()
    embeds, positions = embeddings(inputs)
    expected = masked_logits(embeds, positions, gone, pad)
    for row in range(len(ROWS)):
        kept = ((gone[row] == 99) & ~pad[row]).nonzero()[:, 0]
        torch.testing.assert_close(got[row, -len(kept) :], expected[row, kept], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("modality", "block"), [("image", 0), ("image", 1), ("video", 0), ("audio", 0), ("audio", 1)])
def test_removing_in_the_tower_equals_masking_keys(modality: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Survivors' features equal those of the unreduced tower in which later blocks do not see the removed rows."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    rows = {
        "image": [media(1, image=192), media(5, image=96)],
        "video": [media(3, video=6)],
        "audio": [media(2, audio=1.5)],
    }
    inputs = request(rows[modality])
    caught: list[Tensor] = []
    language = model().model.language_model
    probe = language.register_forward_pre_hook(lambda m, a, k: caught.append(k["inputs_embeds"]), with_kwargs=True)
    try:
        _, handle = logits(single(modality, "encoder", "random", 0.4, block), inputs)
        track: Track = handle.last[modality]
        adapter_rows = handle._bound.unit_rows(modality, track.items)  # type: ignore[arg-type]
        total = int(adapter_rows.max()) + 1 + (track.items[-1].extra if modality == "audio" else 0)  # type: ignore[attr-defined]
        gone = torch.ones(len(adapter_rows), dtype=torch.bool)
        start = 0
        for i, item in enumerate(track.items):
            gone[start + track.ids[i][track.valid[i]]] = False
            start += item.count
        dead = torch.zeros(total, dtype=torch.bool)
        dead[adapter_rows[gone].reshape(-1)] = True

        calls = {"block": -1, "row": 0}

        def masked(module: Any, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Any:
            here = dead[calls["row"] : calls["row"] + k.shape[2]]
            calls["row"] += k.shape[2]
            if calls["block"] > block:
                kwargs["attention_mask"] = (~here)[None, None, None].expand(1, 1, q.shape[2], -1)
            return sdpa_attention_forward(module, q, k, v, *args, **kwargs)

        tower = handle._bound.adapter.blocks(model(), modality)  # type: ignore[arg-type]

        def count(module: Any, args: Any) -> None:
            calls.update(block=calls["block"] + 1, row=0)

        counters = [part.register_forward_pre_hook(count) for part in tower]
        config = tower[0].attn.config if modality != "audio" else tower[0].self_attn.config
        monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "masked_reference", masked)
        before = config._attn_implementation
        config._attn_implementation = "masked_reference"
        try:
            with torch.no_grad():
                model()(**inputs)
        finally:
            config._attn_implementation = before
            for counter in counters:
                counter.remove()
    finally:
        probe.remove()
    reduced, whole = caught[0], caught[-1]
    ids = {"image": 9, "video": 10, "audio": 11}[modality]
    unit = 0
    for row in range(len(rows[modality])):
        columns = (inputs["input_ids"][row] == ids).nonzero()[:, 0]
        alive = ~gone[unit : unit + len(columns)]
        unit += len(columns)
        expected = whole[row, columns[alive]]
        length = int(alive.sum())
        track_columns = track.column[row][track.valid[row]]
        assert len(track_columns) == length
        torch.testing.assert_close(reduced[row, track_columns], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("modality", "location", "name", "layer"),
    [
        ("image", "projector", "divprune", None),
        ("image", "projector", "visionzip", None),
        ("image", "encoder", "tome", 0),
        ("image", "decoder", "fastv", 2),
        ("image", "decoder", "tome", 2),
        ("video", "projector", "evs", None),
        ("video", "projector", "dyn_ttm", None),
        ("audio", "encoder", "a_tome", 1),
        ("audio", "projector", "avg_pool", None),
        ("audio", "decoder", "pyramiddrop", 3),
    ],
)
def test_ragged_batch_equals_single_rows(
    modality: str, location: str, name: str, layer: int | None, inputs: Any
) -> None:
    policy = single(modality, location, name, 0.35, layer)
    together, _ = logits(policy, inputs)
    with autotc.apply(model(), policy):
        ids = model().generate(**inputs, max_new_tokens=8, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    for i, row in enumerate(ROWS):
        one = request([row])
        alone, _ = logits(policy, one)
        n = int(one["attention_mask"].sum()) if not row else min(alone.shape[1], together.shape[1])
        torch.testing.assert_close(together[i, -n:], alone[0, -n:], atol=1e-4, rtol=0)
        with autotc.apply(model(), policy):
            out = model().generate(**one, max_new_tokens=8, do_sample=False)[0, one["input_ids"].shape[1] :]
        assert ids[i, : len(out)].tolist() == out.tolist()


def test_stages_of_several_modalities_and_depths(inputs: Any) -> None:
    policy = Policy.of(
        [
            Stage(modality="image", location="encoder", layer=0, mechanism="tome", keep_ratio=0.7),
            Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.4),
            Stage(modality="video", location="decoder", mechanism="pyramiddrop", layers={1: 0.6, 3: 0.3}),
            Stage(modality="audio", location="decoder", mechanism="fastv", layer=2, keep_ratio=0.5),
        ]
    )
    together, handle = logits(policy, inputs)
    requested = {(s.label, tuple(s.requested)) for s in handle.stats[0]}
    assert ("image projector divprune", (26, 14)) in requested
    assert ("video decoder[3] pyramiddrop", (14, 10)) in requested
    for i, row in enumerate(ROWS):
        alone, _ = logits(policy, request([row]))
        torch.testing.assert_close(together[i, -1], alone[0, -1], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "policy",
    [
        single("image", "decoder", "fastv", 0.3, 2),
        single("image", "decoder", "divprune", 0.3, 0),
        Policy.of(
            [
                Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.6),
                Stage(modality="image", location="decoder", layer=0, mechanism="random", keep_ratio=0.4),
                Stage(modality="image", location="decoder", layer=3, mechanism="fastv", keep_ratio=0.2),
            ]
        ),
    ],
    ids=["layer 2", "layer 0", "projector, layers 0 and 3"],
)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_forced_decoding_equals_one_long_prefill_with_masks(implementation: str, policy: Policy, inputs: Any) -> None:
    """Decode steps over a cache whose layers differ in length see what a masked recompute sees."""
    m = model()
    m.set_attn_implementation(implementation)
    try:
        with autotc.apply(m, policy), torch.no_grad():
            first = m(**inputs, use_cache=True)
            forced = torch.tensor([[12, 13, 14]]).expand(len(ROWS), 3)
            mask = torch.cat([inputs["attention_mask"], torch.ones_like(forced)], 1)
            positions = mask.cumsum(1)[:, -3:] - 1 + m.model.rope_deltas.view(-1, 1)
            steps = m(
                input_ids=forced,
                attention_mask=mask,
                **{CACHE: first[CACHE]},
                position_ids=positions[None].expand(3, -1, -1),
            ).logits
            one_by_one = m(**inputs, use_cache=True)
            for t in range(3):
                out = m(
                    input_ids=forced[:, t : t + 1],
                    attention_mask=mask[:, : mask.shape[1] - 2 + t],
                    **{CACHE: one_by_one[CACHE]},
                    position_ids=positions[None, :, t : t + 1].expand(3, -1, -1),
                ).logits
                torch.testing.assert_close(out[:, 0], steps[:, t], atol=1e-5, rtol=0)
            # Rows alone, without padding, decode to the same.
            for i, row in enumerate(ROWS):
                one = request([row])
                prefill = m(**one, use_cache=True)
                whole = torch.cat([one["attention_mask"], torch.ones(1, 3, dtype=torch.long)], 1)
                at = whole.cumsum(1)[:, -3:] - 1 + m.model.rope_deltas.view(-1, 1)
                alone = m(
                    input_ids=forced[i : i + 1],
                    attention_mask=whole,
                    **{CACHE: prefill[CACHE]},
                    position_ids=at[None].expand(3, -1, -1),
                ).logits
                torch.testing.assert_close(alone[0], steps[i], atol=1e-4, rtol=0)
    finally:
        m.set_attn_implementation("sdpa")


def test_beam_search_runs_and_equals_greedy_with_one_beam(inputs: Any) -> None:
    policy = single("image", "projector", "divprune", 0.3)
    with autotc.apply(model(), policy):
        beams = model().generate(**inputs, max_new_tokens=4, num_beams=3, do_sample=False)
    assert beams.shape[0] == len(ROWS)
