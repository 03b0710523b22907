from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotc.errors import DataError
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.evaluate.evaluation import evaluate
from autotc.evaluate.factory import evaluator as make_evaluator
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.tiny import load

HALF = Policy.of([Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.5)])


@pytest.fixture(scope="module")
def evaluator() -> BuiltinEvaluator:
    return BuiltinEvaluator(batch_size=8)


def test_an_evaluation_says_what_the_command_says(evaluator: BuiltinEvaluator) -> None:
    seen: list[tuple[int, int]] = []
    measured = evaluate(
        HALF, evaluator, split="val", limit=4, progress=lambda done, total, *_, **__: seen.append((done, total))
    )
    document = measured.to_json()
    assert list(document) == [
        "policy",
        "split",
        "accuracy",
        "tasks",
        "chance",
        "flops_ratio",
        "flops_spread",
        "flops",
        "tokens",
        "samples",
    ]
    assert document["samples"] == {"image": 4, "video": 4, "audio": 4, "image+audio": 4}
    assert measured.accuracy["image"].mean == document["accuracy"]["image"][0]
    assert document["flops_ratio"] == evaluator.cost(HALF, "val").flops_ratio < 1
    assert seen[-1] == (16, 16)
    table = measured.to_pandas()
    assert list(table["name"]) == [*document["accuracy"], *document["tasks"]]
    assert "divprune" in measured._repr_html_()


def test_a_loaded_model_comes_with_its_processor() -> None:
    model, processor = load()
    made = make_evaluator(model, processor, seed=3, batch_size=4)
    assert (made.loaded, made.seed, made.name) == (model, 3, "builtin")
    assert made.observable() is made
    with pytest.raises(DataError, match="comes with its processor"):
        make_evaluator(model)
    with pytest.raises(DataError, match="without one"):
        make_evaluator("folder", processor)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({"data": "no.jsonl"}, "no.jsonl: no such file"),
        ({"data": "no.jsonl", "tasks": ["mme"]}, "--tasks: given with --data"),
        ({"task_folder": "here"}, "--task-folder: given without --tasks"),
        ({"metric": "exact"}, "--metric: 'exact' given without --data or --tasks"),
        ({"data": "no.jsonl", "metric": "close"}, "metric: 'close' is unknown"),
        ({"tasks": ["tiny_omni"], "metric": max}, "name one of theirs"),
    ],
)
def test_what_is_wrong_is_told_before_a_model_is_loaded(
    samples: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        make_evaluator("no/such/model", **samples)
    with pytest.raises(TypeError, match="no argument 'splits'"):
        make_evaluator(splits=3)  # type: ignore[call-arg]


def test_results_of_the_same_seed_are_equal_byte_by_byte(tmp_path: Path) -> None:
    files = []
    for batch_size in (8, 5):  # batches order sums anew, as threads do
        made = BuiltinEvaluator(batch_size=batch_size)
        made.run(UNCOMPRESSED, "val", limit=10, groups=["image"])
        files.append(made.run(HALF, "val", limit=10, groups=["image"]).save(tmp_path / f"{batch_size}.parquet"))
    assert files[0].read_bytes() == files[1].read_bytes()
