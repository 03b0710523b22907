"""The regression gate, on an evaluator that answers what it is told to."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from autotc.check import check
from autotc.depths import Depths
from autotc.errors import DataError, PolicyError
from autotc.evaluate.base import Evaluator
from autotc.gate.baseline import samples_path, uncompressed_path
from autotc.latency import LatencyModel
from autotc.policy import UNCOMPRESSED, Measured, ModelReference, Policy
from autotc.progress import Progress
from autotc.records.check import CheckReport
from autotc.report.check import check_markdown, check_sarif
from autotc.report.tables import markdown_table
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
    assert {
        "samples",
        "fingerprint",
        "flops_ratio",
        "pairing",
        "accuracy image",
        "accuracy audio",
        "accuracy overall",
    } == set(verdicts(report))
    assert report.to_json()["passed"] is True
    assert report.to_json()["findings"][0]["what"] == "fingerprint"


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
    assert (suite.get("tests"), suite.get("failures")) == (str(len(report.findings)), "3")
    assert np.array_equal(len(suite.findall("testcase/failure")), 3)


# --- what else a check says ---


def with_uncompressed(folder: Path, before: Told) -> Path:
    """A policy file, beside it what the uncompressed model had said."""
    path = write(folder, before)
    before.run(UNCOMPRESSED, "test").save(uncompressed_path(path))
    return path


class PolicyAlone(Told):
    """The policy answers more wrongly than the uncompressed model does."""

    def run(self, policy: Policy, split: Split, **how: Any) -> Results:
        return super().run(policy, split, **how) if policy.stages else Told().run(policy, split, **how)


def test_a_fall_is_run_again_on_the_uncompressed_model(tmp_path: Path) -> None:
    path = with_uncompressed(tmp_path, Told())
    report = check(path, Told(wrong=40))
    told = next(finding for finding in report.findings if finding.what == "uncompressed")
    assert "it fell too (image, overall)" in told.found
    assert "not the policy alone" in told.found
    uncompressed_path(path).unlink()
    told = check(path, Told(wrong=40)).findings[-1]
    assert "is not there" in told.found
    assert "uncompressed" not in verdicts(check(path, Told()))


def test_a_policy_is_blamed_where_the_uncompressed_model_did_not_fall(tmp_path: Path) -> None:
    path = with_uncompressed(tmp_path, Told())
    stage = "stages:\n- {modality: image, location: projector, mechanism: divprune, keep_ratio: 0.5}\n"
    path.write_text(path.read_text().replace("stages: []\n", stage))
    told = check(path, PolicyAlone(wrong=40)).findings[-1]
    assert told.what == "uncompressed"
    assert "the policy is to blame for image, overall" in told.found


def test_a_baseline_from_another_file(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    write(old, Told(wrong=0))
    path = write(new, Told(wrong=30))
    assert check(path, Told(wrong=30)).passed
    against = check(path, Told(wrong=30), baseline=old / "x.yaml")
    assert verdicts(against)["accuracy image"] == "fail"


def test_a_new_baseline_is_accepted(tmp_path: Path) -> None:
    path = with_uncompressed(tmp_path, Told())
    text = path.read_text()
    report = check(path, Told(wrong=40, ratio=0.6, sha256="other"), accept=True)
    assert verdicts(report)["samples"] == "fail"  # is told all the same
    policy = Policy.load(path)
    assert policy.measured is not None
    assert policy.measured.samples_sha256 == "other"
    assert policy.measured.accuracy["image"].mean == pytest.approx(0.6)
    assert policy.measured.flops_ratio == 0.6
    assert policy.measured.versions["torch"]
    assert Results.load(samples_path(path)).accuracy()["image"].mean == pytest.approx(0.6)
    assert check(path, Told(wrong=40, ratio=0.6, sha256="other")).passed
    path.write_text(text)
    other = Told()
    other.model = ModelReference(architecture="A", fingerprint="sha256:2")
    with pytest.raises(DataError, match="nothing was measured that could be accepted"):
        check(path, other, accept=True)
    with pytest.raises(DataError, match="limit: given with accept"):
        check(path, Told(), accept=True, limit=3)
    assert path.read_text() == text


def test_versions_that_drifted_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, Told())
    check(path, Told(), accept=True)
    assert verdicts(check(path, Told()))["versions"] == "pass"
    path.write_text(re.sub(r"torch: .*", "torch: 1.0.0", path.read_text()))
    drifted = next(finding for finding in check(path, Told()).findings if finding.what == "versions")
    assert (drifted.verdict, drifted.expected) == ("warn", "torch 1.0.0")
    assert drifted.found.startswith("torch ")


def test_tokens_that_rose_fail(tmp_path: Path) -> None:
    path = write(tmp_path, Told())
    check(path, Told(), accept=True)
    text = path.read_text()
    assert verdicts(check(path, Told()))["tokens image"] == "pass"
    path.write_text(text.replace("image: 32.0", "image: 30.0"))
    assert verdicts(check(path, Told()))["tokens image"] == "fail"


def test_samples_that_must_pass_come_from_a_file(tmp_path: Path) -> None:
    path, ids = write(tmp_path, Told()), tmp_path / "ids.txt"
    ids.write_text("# never again\ni50\n\na1\n")
    assert verdicts(check(path, Told(), must_pass=ids))["must pass"] == "pass"
    ids.write_text('["i50", "i12"]')
    report = check(path, Told(wrong=13), must_pass=ids)  # three more are wrong: no broad fall
    assert verdicts(report)["must pass"] == "fail"
    assert verdicts(report)["accuracy image"] != "fail"
    for text, message in (("", "names no sample"), ("[1]", "id of a sample"), ('["a', "is no JSON list")):
        ids.write_text(text)
        with pytest.raises(DataError, match=message):
            check(path, Told(), must_pass=ids)


def test_time_is_measured_where_a_model_runs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="latency: is measured on a model that runs in this process"):
        check(write(tmp_path, Told()), Told(), latency=0.5)
    with pytest.raises(PolicyError, match="latency: 0 given"):
        check(tmp_path / "x.yaml", Told(), latency=0)


def test_sarif_and_markdown(tmp_path: Path) -> None:
    report = check(write(tmp_path, Told()), Told(wrong=40, ratio=0.6))
    run = json.loads(check_sarif(report, "0.1"))["runs"][0]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    failed = [finding.what for finding in report.findings if finding.verdict == "fail"]
    assert [r["ruleId"] for r in run["results"] if r["level"] == "error"] == [
        f"check/{what.replace(' ', '-')}" for what in failed
    ]
    assert {result["ruleId"] for result in run["results"]} <= rules
    text = check_markdown(report)
    assert text.startswith("<!-- autotc-check -->\n### autotc check of")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(report.findings) + 1  # and the rule below the head
    assert rows[1].startswith("| FAILED |")


def test_markdown_shows_texts_as_they_are() -> None:
    shown = markdown_table(["a"], [["x|y <b> `c` @all #1\nz"]])
    assert shown.splitlines()[2] == "| x\\|y &#60;b&#62; \\`c\\` &#64;all &#35;1 z |"
