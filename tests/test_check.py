"""The regression gate, on an evaluator that answers what it is told to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from autotc.check import CheckReport, check, samples_path
from autotc.depths import Depths
from autotc.errors import PolicyError
from autotc.evaluate.base import Evaluator
from autotc.latency import LatencyModel
from autotc.policy import Measured, ModelReference, Policy
from autotc.progress import Progress
from autotc.results import Results, SampleResult, SplitCost, SplitInfo
from autotc.vocabulary import Split

MODEL = ModelReference(architecture="A", fingerprint="sha256:1")


class Told(Evaluator):
    """100 images and 100 clips; ``wrong`` of the images are answered wrongly."""

    name = "told"
    seed = 0
    model = MODEL
    depths = Depths(6, {"image": 3})
    modalities = ("image", "audio")

    def __init__(self, wrong: int = 10, ratio: float = 0.5, sha256: str = "abc") -> None:
        self.wrong, self.ratio, self.sha256 = wrong, ratio, sha256
        self.ran: list[int | None] = []

    def info(self, split: Split) -> SplitInfo:
        return SplitInfo({"image": 100, "audio": 100}, self.sha256)

    def cost(
        self,
        policy: Policy,
        split: Split,
        *,
        groups: Collection[str] | None = None,
        latency: LatencyModel | None = None,
    ) -> SplitCost:
        return SplitCost(self.ratio, {"image": self.ratio}, 1e9, {"image": 32.0}, {"image": self.ratio}, 1e6, 0.0)

    def floors(self, split: Split) -> Mapping[tuple[str, str], float]:
        return {("image", "projector"): 0.1}

    def run(
        self,
        policy: Policy,
        split: Split,
        *,
        limit: int | None = None,
        groups: Collection[str] | None = None,
        progress: Progress | None = None,
    ) -> Results:
        self.ran.append(limit)
        count = 100 if limit is None else min(100, limit)
        image = [SampleResult(f"i{i}", "t", "image", float(i >= self.wrong), "", -0.1) for i in range(count)]
        audio = [SampleResult(f"a{i}", "t", "audio", 1.0, "", -0.1) for i in range(count)]
        return Results(tuple(image + audio))


def write(folder: Path, evaluator: Told, *, samples: bool = True, limit: int | None = None) -> Path:
    results = evaluator.run(Policy(), "test", limit=limit)
    measured = Measured(
        evaluator="told",
        split="test",
        samples=results.counts(),
        samples_sha256="abc",
        accuracy=results.accuracy(),
        flops_ratio=evaluator.ratio,
    )
    path = Policy(model=MODEL, measured=measured).save(folder / "x.yaml")
    if samples:
        results.save(samples_path(path))
    return path


def verdicts(report: CheckReport) -> dict[str, str]:
    return {finding.what: finding.verdict for finding in report.findings}


def test_same_again_passes(tmp_path: Path) -> None:
    report = check(write(tmp_path, Told()), Told())
    assert report.passed
    assert set(verdicts(report).values()) == {"pass"}
    assert {"samples", "fingerprint", "flops_ratio", "pairing", "accuracy image", "accuracy audio"} == set(
        verdicts(report)
    )
    assert report.to_json()["passed"] is True
    assert set(report.to_json()["findings"][0]) == {"what", "expected", "found", "verdict"}


def test_a_clear_fall_fails_and_names_the_modality(tmp_path: Path) -> None:
    report = check(write(tmp_path, Told()), Told(wrong=30))
    assert not report.passed
    assert verdicts(report)["accuracy image"] == "fail"
    assert verdicts(report)["accuracy audio"] == "pass"


def test_a_fall_within_tolerance_or_noise_passes(tmp_path: Path) -> None:
    path = write(tmp_path, Told())
    assert check(path, Told(wrong=30), tolerance=0.3).passed
    # Five points down on 100 samples: more than the tolerance of three, but not with 95% confidence.
    assert check(path, Told(wrong=15)).passed


def test_pairing_sees_what_intervals_alone_do_not(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert not check(write(tmp_path / "a", Told()), Told(wrong=22)).passed
    unpaired = check(write(tmp_path, Told(), samples=False), Told(wrong=22))
    assert unpaired.passed
    assert verdicts(unpaired)["pairing"] == "warn"
    assert not check(tmp_path / "x.yaml", Told(wrong=50)).passed


def test_a_risen_flops_ratio_fails(tmp_path: Path) -> None:
    path = write(tmp_path, Told())
    assert check(path, Told(ratio=0.504)).passed
    assert verdicts(check(path, Told(ratio=0.51)))["flops_ratio"] == "fail"
    assert check(path, Told(ratio=0.4)).passed


def test_other_samples_fail_before_anything_runs(tmp_path: Path) -> None:
    evaluator = Told(sha256="other")
    report = check(write(tmp_path, Told()), evaluator)
    assert verdicts(report)["samples"] == "fail"
    assert not report.passed
    assert not evaluator.ran


def test_another_model_fails(tmp_path: Path) -> None:
    path = write(tmp_path, Told())
    other = Told()
    other.model = ModelReference(architecture="A", fingerprint="sha256:2")
    assert verdicts(check(path, other)) == {"fingerprint": "fail"}
    other.model = ModelReference(architecture="B")
    with pytest.raises(PolicyError, match=r"model.architecture: is for A, the model is B"):
        check(path, other)


def test_limits(tmp_path: Path) -> None:
    evaluator = Told()
    assert check(write(tmp_path, Told(), limit=40), evaluator).passed
    assert check(write(tmp_path, Told()), evaluator, limit=20).passed
    assert evaluator.ran == [40, 20]


def test_samples_file_of_another_policy_fails(tmp_path: Path) -> None:
    path = write(tmp_path, Told())
    Told(wrong=60).run(Policy(), "test").save(samples_path(path))
    assert verdicts(check(path, Told()))["pairing"] == "fail"


def test_policy_without_measurement_is_refused(tmp_path: Path) -> None:
    path = Policy().save(tmp_path / "x.yaml")
    with pytest.raises(PolicyError, match="measured: missing"):
        check(path, Told())
    with pytest.raises(PolicyError, match="tolerance: 3"):
        check(write(tmp_path, Told()), Told(), tolerance=3)


def test_junit(tmp_path: Path) -> None:
    report = check(write(tmp_path, Told()), Told(wrong=40, ratio=0.6))
    root = ElementTree.fromstring(report.to_junit())
    suite = root.find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == (str(len(report.findings)), "2")
    assert np.array_equal(len(suite.findall("testcase/failure")), 2)
