"""Scores that mechanisms get equal those computed from the model's own eager attention weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import autotc
from autotc.mechanisms import SCORES_AT, Reduction, Tokens, target_count
from autotc.mechanisms.attention.fastv import FastV
from autotc.mechanisms.scores import RANK_ROUNDS, RANK_TEMPERATURE
from autotc.mechanisms.similarity.divprune import DivPrune
from autotc.mechanisms.similarity.evs import Evs
from autotc.mechanisms.similarity.pixelprune import PixelPrune
from autotc.models import bind, find_adapter
from autotc.policy import Policy, Stage
from tests.runtime.helpers import media, model, request, single

ROWS = [media(1, image=96), media(2, image=64, audio=1.0), media(3, image=128)]
LAYER = 2


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What FastV is given when it asks for everything."""
    given: dict[str, Any] = {}

    def reduce(self: FastV, tokens: Tokens, budget: Tensor, scores: Any) -> Reduction:
        given.update(scores, tokens=tokens)
        column = torch.arange(tokens.valid.shape[1]).flip(0)
        return Reduction.select((column < budget[:, None]) & tokens.valid)

    monkeypatch.setattr(FastV, "reduce", reduce)
    return given


def attentions(inputs: Any, layer: int) -> Tensor:
    """(B, H, L, L) of an eager forward."""
    model().set_attn_implementation("eager")
    try:
        with torch.no_grad():
            out: Tensor = model()(**inputs, output_attentions=True).attentions[layer]
            return out
    finally:
        model().set_attn_implementation("sdpa")


def columns(inputs: Any, row: int) -> Tensor:
    return (inputs["input_ids"][row] == 9).nonzero()[:, 0]


@pytest.mark.parametrize("heads", ["mean", "max"])
@pytest.mark.parametrize("source", ["previous", "own"])
def test_attention_scores(asked: Any, source: Any, heads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = tuple(sorted(SCORES_AT["decoder"] - {"representation_shift", "concurrent_retention"}))
    monkeypatch.setattr(FastV, "needs", needs)
    monkeypatch.setattr(FastV, "score_source", source)
    monkeypatch.setattr(FastV, "head_reduction", heads)
    inputs = request(ROWS)
    with autotc.apply(model(), single("image", "decoder", "fastv", 0.3, LAYER)), torch.no_grad():
        model()(**inputs)
    weights = attentions(inputs, LAYER if source == "own" else LAYER - 1)
    query = find_adapter(model()).query_mask(model().config, inputs["input_ids"], inputs["attention_mask"])
    joined = weights.mean(1) if heads == "mean" else weights.amax(1)
    length = weights.shape[-1]
    valid = inputs["attention_mask"].bool()
    for row in range(len(ROWS)):
        at, text = columns(inputs, row), query[row].nonzero()[:, 0]
        n = len(at)
        expected = {
            "last_query_attention": joined[row, -1, at],
            "text_attention": joined[row][text][:, at].T,
            "received_attention": joined[row][at][:, at].mean(0),
        }
        for name, value in expected.items():
            got = asked[name][row, -n:]
            got = got[:, -len(text) :] if name == "text_attention" else got
            torch.testing.assert_close(got, value, atol=1e-5, rtol=1e-4)
        # PageRank on sharpened weights: w ** (1 / temperature), since a softmax's scores are its logarithms.
        sharp = (weights[row].clamp_min(1e-30).log() / RANK_TEMPERATURE).softmax(-1) * valid[row][None, :, None]
        rank = valid[row].float().div(valid[row].sum()).expand(weights.shape[1], length)
        for _ in range(RANK_ROUNDS):
            rank = torch.einsum("hi,hij->hj", rank, sharp)
        torch.testing.assert_close(
            asked["attention_rank"][row, -n:], rank.square().mean(0).sqrt()[at], atol=1e-5, rtol=1e-3
        )
        assert asked["text_keys"].shape[1] == asked["text_features"].shape[1] == asked["text_attention"].shape[2]
        assert asked["global_query_attention"][row, -n:].sum() == pytest.approx(1.0, abs=1e-5)


def test_text_features_are_the_query_spans_embeddings(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastV, "needs", ("text_features",))
    monkeypatch.setattr(FastV, "locations", ("projector", "decoder"))
    inputs = request(ROWS)
    with autotc.apply(model(), single("image", "projector", "fastv", 0.3)), torch.no_grad():
        model()(**inputs)
    adapter = find_adapter(model())
    query = adapter.query_mask(model().config, inputs["input_ids"], inputs["attention_mask"])
    table = adapter.language_model(model()).get_input_embeddings()
    for row in range(len(ROWS)):
        expected = table(inputs["input_ids"][row][query[row]])
        torch.testing.assert_close(asked["text_features"][row, -len(expected) :], expected)


def test_features_before_are_those_in_front_of_the_layer_before(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastV, "needs", ("features_before", "representation_shift"))
    inputs = request(ROWS)
    with autotc.apply(model(), single("image", "decoder", "fastv", 0.3, LAYER)), torch.no_grad():
        model()(**inputs)
    with torch.no_grad():
        hidden = model()(**inputs, output_hidden_states=True).hidden_states
    for row in range(len(ROWS)):
        at = columns(inputs, row)
        before, now = hidden[LAYER - 1][row, at], hidden[LAYER][row, at]
        torch.testing.assert_close(asked["features_before"][row, -len(at) :], before)
        torch.testing.assert_close(asked["representation_shift"][row, -len(at) :], (now - before).norm(dim=-1))


@pytest.mark.parametrize("source", ["previous", "own"])
def test_values_and_rotation_are_the_layers(asked: Any, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastV, "needs", ("values", "text_values", "rotation"))
    monkeypatch.setattr(FastV, "score_source", source)
    inputs = request(ROWS)
    adapter = find_adapter(model())
    layer = adapter.layers(model())[LAYER if source == "own" else LAYER - 1]
    kept: dict[str, Any] = {}
    hooks = [
        layer.self_attn.v_proj.register_forward_hook(lambda module, args, out: kept.update(value=out)),
        layer.register_forward_pre_hook(lambda m, args, kw: kept.update(kw), with_kwargs=True),
    ]
    with torch.no_grad():
        model()(**inputs)
    for hook in hooks:
        hook.remove()
    with autotc.apply(model(), single("image", "decoder", "fastv", 0.3, LAYER)), torch.no_grad():
        model()(**inputs)
    query = adapter.query_mask(model().config, inputs["input_ids"], inputs["attention_mask"])
    heads, width = adapter.layer_projections(layer).kv_heads, layer.self_attn.head_dim
    for row in range(len(ROWS)):
        at, text = columns(inputs, row), query[row].nonzero()[:, 0]
        value = kept["value"][row].view(-1, heads, width)
        torch.testing.assert_close(asked["values"][row, -len(at) :], value[at])
        torch.testing.assert_close(asked["text_values"][row, -len(text) :], value[text])
        cosine, sine = (part.expand(len(ROWS), -1, -1)[row, at].mean(-1) for part in kept["position_embeddings"])
        torch.testing.assert_close(asked["rotation"][row, -len(at) :], torch.stack([cosine, sine], -1))


def test_global_query_attention_by_hand() -> None:
    from autotc.runtime.scores import global_query_attention

    query = torch.randn(1, 4, 5, 8)
    key = torch.randn(1, 2, 5, 8)
    valid = torch.tensor([[False, True, True, True, True]])
    got = global_query_attention(query, key, 0.3, valid)[0]
    expected = torch.zeros(5)
    for head in range(4):
        mean = query[0, head, 1:].mean(0)
        expected[1:] += (key[0, head // 2, 1:] @ mean * 0.3).softmax(0) / 4
    torch.testing.assert_close(got, expected)


def test_tower_scores_of_next_to_last_and_middle_block(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastV, "needs", ("cls_attention", "middle_attention", "received_attention"))
    monkeypatch.setattr(FastV, "locations", ("projector", "decoder"))
    inputs = request(ROWS[:1])
    with autotc.apply(model(), single("image", "projector", "fastv", 0.3)), torch.no_grad():
        model()(**inputs)
    # The embedded tower has no class token and three blocks: the middle one is the next to last.
    assert torch.equal(asked["cls_attention"], asked["received_attention"])
    assert torch.equal(asked["middle_attention"], asked["received_attention"])
    assert asked["cls_attention"].sum() == pytest.approx(1.0, abs=1e-4)


def test_one_modalitys_reduction_guides_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Video tokens see which share of the audio at their time was kept, whatever the order of the modalities."""
    given: dict[str, Tensor] = {}

    def reduce(self: Evs, tokens: Tokens, budget: Tensor, scores: Any) -> Reduction:
        given.update(scores, tokens=tokens)
        column = torch.arange(tokens.valid.shape[1]).flip(0)
        return Reduction.select((column < budget[:, None]) & tokens.valid)

    monkeypatch.setattr(Evs, "needs", ("concurrent_retention",))
    monkeypatch.setattr(Evs, "companion", "audio")
    monkeypatch.setattr(Evs, "reduce", reduce)
    inputs = request([media(3, video=6, audio=2.4), media(4, video=4)])
    video = Stage(modality="video", location="projector", mechanism="evs", keep_ratio=0.5)
    audio = Stage(modality="audio", location="projector", mechanism="divprune", keep_ratio=0.4)
    with autotc.apply(model(), Policy.of([video, audio])) as handle, torch.no_grad():
        model()(**inputs)
    track = handle.last["audio"]
    alive = set(track.ids[0][track.valid[0]].tolist())
    item = track.items[0]
    for column in given["tokens"].valid[0].nonzero()[:, 0].tolist():
        start, end = given["tokens"].box[0, column, :2].tolist()
        spans = [(i, i * item.extent[0], (i + 1) * item.extent[0]) for i in range(item.count)]
        there = [i for i, low, high in spans if low < end - 1e-6 and high > start + 1e-6]
        expected = sum(i in alive for i in there) / len(there) if there else 1.0
        assert given["concurrent_retention"][0, column] == pytest.approx(expected, abs=1e-5)
    assert (given["concurrent_retention"][1][given["tokens"].valid[1]] == 1).all()


def test_patch_embeddings_are_what_the_first_block_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Tensor] = []
    rule = PixelPrune.reduce

    def reduce(self: PixelPrune, tokens: Tokens, budget: Tensor, scores: Any) -> Reduction:
        given.append(scores["patch_embeddings"])
        return rule(self, tokens, budget, scores)

    monkeypatch.setattr(PixelPrune, "reduce", reduce)
    inputs = request(ROWS[:1])
    bound = bind(model())
    (item,) = bound.geometry("image", inputs)
    entering: list[Tensor] = []
    block = bound.adapter.blocks(model(), "image")[0]
    handle = block.register_forward_pre_hook(lambda module, args: entering.append(args[0]))
    try:
        with torch.no_grad():
            model()(**inputs)
    finally:
        handle.remove()
    expected = entering[0][bound.unit_rows("image", [item])].flatten(1)
    # Behind a later block they are those of the tokens left.
    policy = Policy.of([Stage(modality="image", location="encoder", mechanism="pixelprune", layers={0: 0.7, 1: 0.3})])
    with autotc.apply(model(), policy) as handle, torch.no_grad():
        model()(**inputs)
        assert handle.last["image"].lengths == [target_count(0.3, item.n0, item.n0)]
    assert torch.equal(given[0][0], expected)
    left = {tuple(row) for row in given[1][0].tolist()}
    assert left < {tuple(row) for row in expected.tolist()}
    assert given[1].shape[1] == target_count(0.7, item.n0, item.n0)


def test_duplicate_patches_are_found() -> None:
    inputs = request(ROWS[:1])
    pixels = inputs["pixel_values"]
    # Of the units of four patches one differs from the others. It cannot be told from its neighbours; the one on its
    # right is predicted from it, and so is the one below, since an edge seems to run down between it and its left.
    inputs["pixel_values"] = torch.zeros_like(pixels)
    (item,) = bind(model()).geometry("image", inputs)
    _, rows, columns = item.grid
    assert min(rows, columns) >= 3
    inputs["pixel_values"][4 * (columns + 1) : 4 * (columns + 2)] = pixels[:4]
    policy = single("image", "encoder", "pixelprune", 1.0, 0, adaptive=True)
    with autotc.apply(model(), policy) as handle, torch.no_grad():
        model()(**inputs)
        kept = handle.last["image"].ids[0].tolist()
    assert kept == [0, columns + 1, columns + 2, 2 * columns + 1]


def test_the_audio_says_where_it_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Video tokens see the lowest cosine between neighbours of the audio of their time, as it was before its stage."""
    given: dict[str, Any] = {}

    def select(tokens: Tokens, budget: Tensor) -> Reduction:
        column = torch.arange(tokens.valid.shape[1]).flip(0)
        return Reduction.select((column < budget[:, None]) & tokens.valid)

    def see(self: Evs, tokens: Tokens, budget: Tensor, scores: Any) -> Reduction:
        given.update(scores, video=tokens)
        return select(tokens, budget)

    def hear(self: DivPrune, tokens: Tokens, budget: Tensor, scores: Any) -> Reduction:
        given["audio"] = tokens
        return select(tokens, budget)

    monkeypatch.setattr(Evs, "needs", ("concurrent_cosine",))
    monkeypatch.setattr(Evs, "companion", "audio")
    monkeypatch.setattr(Evs, "reduce", see)
    monkeypatch.setattr(DivPrune, "reduce", hear)
    inputs = request([media(3, video=6, audio=2.4), media(4, video=4)])
    video = Stage(modality="video", location="projector", mechanism="evs", keep_ratio=0.5)
    audio = Stage(modality="audio", location="projector", mechanism="divprune", keep_ratio=0.4)
    with autotc.apply(model(), Policy.of([video, audio])), torch.no_grad():
        model()(**inputs)
    sound, sight, got = given["audio"], given["video"], given["concurrent_cosine"]
    heard = sound.features[0, sound.valid[0]]
    begins = sound.box[0, sound.valid[0], 0]
    cosine = torch.cosine_similarity(heard[1:], heard[:-1], dim=-1)
    joined = 0
    for column in sight.valid[0].nonzero()[:, 0].tolist():
        start, end = sight.box[0, column, :2].tolist()
        there = [float(cosine[i - 1]) for i in range(1, len(heard)) if start - 1e-6 <= begins[i] < end - 1e-6]
        joined += len(there)
        assert got[0, column] == pytest.approx(min(there, default=1.0), abs=1e-5)
    assert joined
    assert (got[1][sight.valid[1]] == 1).all()
