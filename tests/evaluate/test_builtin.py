"""The embedded benchmark and the machinery that runs models on samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

import autotc
from autotc.evaluate.batches import Batch
from autotc.evaluate.builtin import SIZES, TASKS, BuiltinEvaluator, build_samples
from autotc.policy import Policy, Stage
from autotc.vocabulary import Group

HALF = Policy.of(
    Stage(modality=m, location="projector", mechanism="divprune", keep_ratio=0.4)  # type: ignore[arg-type]
    for m in ("image", "video", "audio")
)
LITTLE = Policy.of(
    Stage(modality=m, location="projector", mechanism="random", keep_ratio=0.1)  # type: ignore[arg-type]
    for m in ("image", "video", "audio")
)
INPUT = Policy.of([Stage(modality="image", location="input", mechanism="downsample", keep_ratio=0.5)])


@pytest.fixture(scope="module")
def evaluator() -> BuiltinEvaluator:
    return BuiltinEvaluator(batch_size=8)


def test_splits_are_disjoint_sized_and_balanced() -> None:
    ids: set[str] = set()
    for split, sizes in SIZES.items():
        samples = build_samples(split, 0)
        mine = {s.id for s in samples}
        assert len(mine) == len(samples) == sum(sizes.values())
        assert not mine & ids
        ids |= mine
        for group, tasks in TASKS.items():
            counts = [sum(s.task == f"{group}.{task}" for s in samples) for task in tasks]
            assert max(counts) - min(counts) <= 1
    assert all(SIZES["test"][m] >= 600 for m in ("image", "video", "audio"))
    assert all(len(TASKS[m]) >= 3 for m in ("image", "video", "audio"))


def test_some_answers_have_several_tokens() -> None:
    assert any(len(s.answer.split()) > 1 for s in build_samples("test", 0))


def test_forced_decoding_equals_generate(evaluator: BuiltinEvaluator) -> None:
    """What greedy decoding says is what `generate()` says, with and without compression."""
    model = evaluator.loaded
    for policy in (Policy(), HALF):
        results = {s.id: s for s in evaluator.run(policy, "val", limit=8).samples}
        for group in TASKS:
            mine = Policy(stages=tuple(s for s in policy.stages if Group(group).holds(s.modality)))
            for batch in evaluator.prepared(mine, "val", group, 8):
                with autotc.apply(model, mine), torch.no_grad():
                    ids = model.generate(**batch.inputs, max_new_tokens=8, do_sample=False)
                new = ids[:, batch.inputs["input_ids"].shape[1] :]
                texts = evaluator.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
                for sample, text in zip(batch.samples, texts, strict=True):
                    right = float(text.strip() == sample.answer)
                    assert results[sample.id].correct == right
                    assert results[sample.id].log_probability <= 0


class WrittenOut(BuiltinEvaluator):
    """Takes nothing for wrong before it has been said to its end."""

    wrong_token_decides = False


@pytest.mark.parametrize("policy", [Policy(), LITTLE], ids=["none", "projector"])
@pytest.mark.parametrize(
    ("penalty", "limit"), [(1.0, 8), (4.0, 8), (1.0, 1), (1.0, 2)], ids=["plain", "repetition_penalty", "one", "two"]
)
def test_answers_are_those_of_generate(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, penalty: float, limit: int
) -> None:
    evaluator = WrittenOut(batch_size=16)
    model = evaluator.loaded
    monkeypatch.setattr(evaluator.answerer, "_max_new_tokens", limit)
    monkeypatch.setattr(model.generation_config, "repetition_penalty", penalty)
    results = {s.id: s for s in evaluator.run(policy, "val", limit=16).samples}
    said = {}
    for group in TASKS:
        mine = Policy(stages=tuple(s for s in policy.stages if Group(group).holds(s.modality)))
        for batch in evaluator.prepared(mine, "val", group, 16):
            with autotc.apply(model, mine), torch.no_grad():
                ids = model.generate(**batch.inputs, max_new_tokens=limit, do_sample=False)
            new = ids[:, batch.inputs["input_ids"].shape[1] :]
            texts = evaluator.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
            said.update({sample.id: text.strip() for sample, text in zip(batch.samples, texts, strict=True)})
    assert {name: result.answer for name, result in results.items()} == said
    wrong = [s for s in build_samples("val", 0) if s.id in said and said[s.id] != s.answer]
    # Also where it goes on after the first wrong token.
    assert not policy.stages or limit == 1 or any(" " in said[s.id] for s in wrong)


def test_what_the_right_answer_tells_of_the_one_that_is_said(evaluator: BuiltinEvaluator) -> None:
    tokenizer = evaluator.processor.tokenizer
    red, blue = (tokenizer(word, add_special_tokens=False)["input_ids"] for word in ("red", "blue"))
    end, unknown = tokenizer.eos_token_id, tokenizer.unk_token_id
    both = [*red, *blue]
    assert evaluator.answerer.settled("red", red, [*red, end]) == "red"
    assert evaluator.answerer.settled("red", red, [*blue, end]) == "blue"
    assert evaluator.answerer.settled("red", red, [end, end]) == ""
    assert evaluator.answerer.settled("red", red, [*red, *blue]) == "red blue"
    assert evaluator.answerer.settled("red blue", both, [*red, *red, end]) == "red red"
    assert evaluator.answerer.settled("red blue", both, [*red, end, end]) == "red"
    # It goes on after the right answer with what spells nothing: whether it is wrong is not told yet.
    assert evaluator.answerer.settled("red", red, [*red, unknown]) is None


def test_runs_that_stop_early_prepare_for_those_that_do_not(processed: Any) -> None:
    evaluator = BuiltinEvaluator(batch_size=100)
    made = processed(evaluator)
    evaluator.announce_stops("val", {"image": [3, 6, 12], "video": [3, 6, 12]})
    whole = evaluator.run(Policy(), "val", limit=12, groups=["image"]).samples
    for stop in (3, 6, 12):
        raced = evaluator.run(HALF, "val", limit=stop, groups=["image"]).samples
    assert made == [3, 3, 6]
    assert [s.id for s in raced] == [s.id for s in whole]
    plain = BuiltinEvaluator(batch_size=100).run(HALF, "val", limit=12, groups=["image"]).samples
    assert [(s.id, s.correct) for s in raced] == [(s.id, s.correct) for s in plain]
    assert [s.log_probability for s in raced] == pytest.approx([s.log_probability for s in plain], abs=1e-3)


def test_log_probability_is_that_of_one_long_forward(evaluator: BuiltinEvaluator) -> None:
    sample = build_samples("val", 0)[0]
    inputs = evaluator.batches.inputs([sample], evaluator.processor)
    tokens = evaluator.processor.tokenizer(sample.answer, add_special_tokens=False)["input_ids"]
    answer = torch.tensor([[*tokens, evaluator.processor.tokenizer.eos_token_id]])
    whole = dict(inputs)
    whole["input_ids"] = torch.cat([inputs["input_ids"], answer], 1)
    whole["attention_mask"] = torch.ones_like(whole["input_ids"])
    with torch.no_grad():
        logits = evaluator.loaded(**whole).logits.log_softmax(-1)
    n = answer.shape[1]
    expected = logits[0, -n - 1 : -1].gather(1, answer[0][:, None]).sum()
    (result,) = evaluator.run_batch(Policy(), evaluator.prepared(Policy(), "val", "image", 1)[0], [])
    assert result.log_probability == pytest.approx(float(expected), abs=1e-3)


@contextmanager
def forwards(evaluator: BuiltinEvaluator) -> Iterator[list[object]]:
    """What the model is run on in the block."""
    ran: list[object] = []
    handle = evaluator.loaded.register_forward_pre_hook(lambda module, args: ran.append(args))
    try:
        yield ran
    finally:
        handle.remove()


def test_limit_takes_the_first_and_results_are_reused(evaluator: BuiltinEvaluator) -> None:
    few = evaluator.run(HALF, "val", limit=6)
    assert few.counts() == dict.fromkeys(TASKS, 6)
    ids = [s.id for s in build_samples("val", 0)]
    assert [s.id for s in few.samples if s.modality == "image"] == [i for i in ids if "-image-" in i][:6]
    with forwards(evaluator) as ran:
        assert evaluator.run(HALF, "val", limit=6) == few
    assert ran == []


def test_policies_share_what_they_have_in_common(evaluator: BuiltinEvaluator) -> None:
    image_only = Policy(stages=HALF.modality("image"))
    both = evaluator.run(HALF, "val", limit=6)
    with forwards(evaluator) as ran:
        assert evaluator.run(image_only, "val", limit=6, groups=["image"]) == both.by("modality")["image"]
    assert ran == []
    with forwards(evaluator) as ran:
        other = Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.37)
        evaluator.run(Policy(stages=(other,)), "val", limit=6, groups=["image"])
    assert ran


def methods(batch: Batch) -> set[str]:
    """The methods whose outputs are kept."""
    return {call.method for call in batch.features}


def test_remembered_features_change_nothing(evaluator: BuiltinEvaluator) -> None:
    first = evaluator.prepared(HALF, "val", "image+audio", 6)[0]
    plain = evaluator.run_batch(HALF, first, [])
    assert methods(first) == {"get_image_features", "get_audio_features"}
    assert evaluator.run_batch(HALF, first, []) == plain
    first.features.clear()
    assert evaluator.run_batch(HALF, first, []) == plain
    early = Policy.of([Stage(modality="image", location="encoder", layer=0, mechanism="tome", keep_ratio=0.5)])
    first.features.clear()
    evaluator.run_batch(early, first, [])
    assert methods(first) == {"get_audio_features"}
    assert not any(name.startswith("get_") for name in evaluator.loaded.model.__dict__)


def test_input_stage_runs_and_costs_less(evaluator: BuiltinEvaluator) -> None:
    cost = evaluator.cost(INPUT, "val")
    assert cost.flops_ratio_by["image"] < 0.7
    assert cost.flops_ratio_by["video"] == 1.0
    assert len(evaluator.run(INPUT, "val", limit=4)) == 4 * len(TASKS)


def test_info_names_chance_and_hashes_the_samples(evaluator: BuiltinEvaluator) -> None:
    info = evaluator.info("test")
    assert info.samples == SIZES["test"]
    assert set(info.chance) == {f"{g}.{t}" for g, tasks in TASKS.items() for t in tasks}
    assert all(0 < c < 0.6 for c in info.chance.values())
    assert info.sha256 != evaluator.info("val").sha256


def test_floors_bound_every_policy(evaluator: BuiltinEvaluator) -> None:
    floors = evaluator.floors("val")
    assert set(floors) == {
        (m, w) for m in ("image", "video", "audio") for w in ("input", "encoder", "projector", "decoder")
    }
    tight = Policy.of([Stage(modality="image", location="projector", mechanism="random", keep_ratio=0.02)])
    assert evaluator.cost(tight, "val").flops_ratio_by["image"] >= floors["image", "projector"] - 1e-9


def test_model_must_fit(evaluator: BuiltinEvaluator) -> None:
    stage = Stage(modality="image", location="decoder", mechanism="fastv", layer=9, keep_ratio=0.5)
    with pytest.raises(autotc.PolicyError, match="layers 0 to 5"):
        evaluator.cost(Policy(stages=(stage,)), "val")
