"""The main job on the embedded model, short: search, then apply and check what it wrote."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import autotc
from autotc.check import check
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.policy import Policy
from autotc.results import Results
from autotc.search import SearchResult, search
from autotc.search.account import study_account
from autotc.search.home import Home


@pytest.fixture(scope="module")
def evaluator() -> BuiltinEvaluator:
    return BuiltinEvaluator()


@pytest.fixture(scope="module")
def result(evaluator: BuiltinEvaluator, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    folder = tmp_path_factory.mktemp("search")
    return search(
        evaluator,
        budget=0.55,
        trials=5,
        runs=folder / "runs",
        out_dir=folder / "policies",
        search_limit=6,
        val_limit=6,
        test_limit=6,
    )


def test_search_exports_a_policy_within_the_budget(result: SearchResult, evaluator: BuiltinEvaluator) -> None:
    policy = Policy.load(result.policy)
    assert policy.measured is not None
    assert policy.measured.flops_ratio <= 0.55
    assert evaluator.cost(policy, "test").flops_ratio == pytest.approx(policy.measured.flops_ratio, abs=1e-5)
    assert policy.model == evaluator.model
    assert result.trials == 5
    samples = Results.load(Path(result.policy).with_suffix(".samples.parquet"))
    assert len(samples) == 24
    by = {key: values.mean() for key, values in samples.groups("modality").items()}
    for key, (mean, low, high) in policy.measured.accuracy.items():
        assert by[key] == pytest.approx(mean, abs=1e-5)
        assert low <= mean <= high


def test_what_it_wrote_applies_and_checks(result: SearchResult, evaluator: BuiltinEvaluator) -> None:
    report = check(result.policy, evaluator)
    assert report.passed
    assert not any("cannot be paired" in finding.found for finding in report.findings)
    batch = evaluator.prepared(Policy(), "test", "image", 4)[0]
    policy = Policy.load(result.policy)
    if any(stage.location == "input" for stage in policy.stages):
        batch = evaluator.prepared(policy, "test", "image", 4)[0]
    with autotc.apply(evaluator.loaded, policy) as handle, torch.no_grad():
        evaluator.loaded.generate(**batch.inputs, max_new_tokens=2)
    assert len(handle.stats) == 1


def test_its_report_shows_what_is_left_of_samples(result: SearchResult, evaluator: BuiltinEvaluator) -> None:
    runs = Path(result.figures[0]).parents[1]
    looked = study_account(result.study, Home.of(runs)).looked
    assert {one.modality for one in looked} == {"image", "video", "audio"}
    asked = {sample.id: sample for sample in evaluator.samples("test")}
    for one in looked:
        assert (one.prompt, one.right) == (asked[one.id].prompt, asked[one.id].answer)
        assert one.verdict == ("right" if one.after == one.right else "wrong")
        with Image.open(io.BytesIO(base64.b64decode(one.picture.partition(",")[2]))) as picture:
            assert picture.format == "WEBP"
    report = next(path for path in result.figures if path.name == "report.html")
    assert report.read_text(encoding="utf-8").count("data:image/webp") == len(looked)
    assert report.stat().st_size < 2_000_000


def test_check_sees_a_policy_that_got_worse(result: SearchResult, evaluator: BuiltinEvaluator, tmp_path: Path) -> None:
    """The samples of the uncompressed model beside a policy that keeps almost nothing: check must fail."""
    policy = Policy.load(result.policy)
    stages = tuple(
        autotc.Stage(modality=m, location="projector", mechanism="random", keep_ratio=0.02)  # type: ignore[arg-type]
        for m in ("image", "video", "audio")
    )
    plain = evaluator.run(Policy(), "test", limit=6)
    assert policy.measured is not None
    accuracy = plain.accuracy("modality")
    measured = policy.measured.model_copy(update={"accuracy": accuracy})
    path = policy.model_copy(update={"stages": stages, "measured": measured}).save(tmp_path / "worse.yaml")
    plain.save(path.with_suffix(".samples.parquet"))
    report = check(path, evaluator)
    assert not report.passed


def test_samples_run_to_predict_conflicts_are_counted(evaluator: BuiltinEvaluator, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "track": False,
        "runs": tmp_path / "runs",
        "out_dir": tmp_path,
        "search_limit": 6,
        "val_limit": 6,
        "test_limit": 6,
        "sampler": "random",
        "trials": 16,
    }
    ran: list[int] = []
    forward = evaluator.loaded.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("use_cache") is False:  # as predictions run, and nothing else
            ran.append(len(kwargs["input_ids"]))
        return forward(*args, **kwargs)

    evaluator.loaded.forward = counted
    try:
        first = search(evaluator, **options)
    finally:
        evaluator.loaded.forward = forward
    assert first.watched == first.to_json()["watched"] == sum(ran) > 0
    again = search(evaluator, **options, study_name=first.study, resume=True)
    assert again.watched == first.watched


def test_a_budget_of_keys_and_values(evaluator: BuiltinEvaluator, tmp_path: Path) -> None:
    result = search(
        evaluator,
        budget_kv=0.4,
        trials=3,
        track=False,
        runs=tmp_path / "runs",
        out_dir=tmp_path,
        search_limit=6,
        val_limit=6,
        test_limit=6,
    )
    assert result.policy.name == "tiny-omni-kv0.4.yaml"
    policy = Policy.load(result.policy)
    assert policy.measured is not None
    assert policy.measured.kv_ratio is not None
    assert policy.measured.kv_ratio <= 0.4
    assert evaluator.cost(policy, "test").kv_ratio == pytest.approx(policy.measured.kv_ratio, abs=1e-5)
