"""How often the gate is wrong, by simulation; and what it says of each comparison."""

from __future__ import annotations

import numpy as np
import pytest

from autotc.errors import DataError
from autotc.gate.accuracy import Comparison, compare, holm, judge, must_pass
from autotc.gate.demands import Demands
from autotc.policy import Measured
from autotc.results import Results, SampleResult
from autotc.statistics import paired_difference

SAMPLES = 600
"""Of each modality group, as in the embedded benchmark."""
GROUPS = ("image", "video", "audio")


def measured(**more: object) -> Measured:
    return Measured.model_validate(
        {"evaluator": "t", "split": "test", "samples": {}, "samples_sha256": "", "accuracy": {}, "flops_ratio": 0.5}
        | more
    )


def comparison(name: str, worse: int, better: int, size: int, tolerance: float) -> Comparison:
    differences = np.repeat([-1.0, 1.0, 0.0], [worse, better, size - worse - better])
    return Comparison(name, 0.9, 0.9, paired_difference(differences), size, tolerance)


def pair(rng: np.random.Generator, drops: dict[str, float], discordant: float) -> tuple[Results, Results]:
    """Results now and before: of each group's samples a share changes, so that accuracy falls by its drop."""
    now, before = [], []
    for group in GROUPS:
        drop = drops.get(group, 0.0)
        worse = (discordant + drop) / 2
        change = rng.choice([-1.0, 1.0, 0.0], SAMPLES, p=[worse, discordant - worse, 1 - discordant])
        right = rng.random(SAMPLES) < 0.9
        for i, (moved, was) in enumerate(zip(change, right, strict=True)):
            old = float(moved < 0 or (moved == 0 and was))
            before.append(SampleResult(f"{group}{i}", "t", group, old, "", 0.0))
            now.append(SampleResult(f"{group}{i}", "t", group, old + moved, "", 0.0))
    return Results(tuple(now)), Results(tuple(before))


def red(drops: dict[str, float], runs: int) -> float:
    """Share of checks at tolerance 0 that fail, with 10% discordant pairs."""
    rng, failed = np.random.default_rng(0), 0
    for _ in range(runs):
        now, before = pair(rng, drops, 0.1)
        failed += bool(judge(compare(now, before, measured(), Demands(tolerance=0.0)), equivalence=False)[1])
    return failed / runs


def test_no_drop_is_red_in_at_most_5_percent() -> None:
    # Four tests, of three groups and of all together, and the chance that any of them is wrong. 2.2 standard errors.
    assert red({}, 400) <= 0.05 + 2.2 * (0.05 * 0.95 / 400) ** 0.5


@pytest.mark.parametrize("drops", [{"image": 0.05}, dict.fromkeys(GROUPS, 0.05)], ids=["one group", "all groups"])
def test_a_drop_of_5_points_is_missed_in_at_most_5_percent(drops: dict[str, float]) -> None:
    assert 1 - red(drops, 400) <= 0.05


def test_holm_by_hand() -> None:
    # 0.01 <= 0.05 / 4, 0.013 <= 0.05 / 3, 0.03 > 0.05 / 2: what follows is not rejected either.
    assert holm({"a": 0.01, "b": 0.03, "c": 0.013, "d": 0.04}) == {"a", "c"}
    assert holm({"a": 0.02, "b": 0.02, "c": 0.02}) == set()


def test_what_is_said_of_a_comparison() -> None:
    rows = [
        comparison("fell", 60, 0, 600, 0.03),
        comparison("kept", 2, 3, 600, 0.03),
        comparison("unclear", 3, 2, 60, 0.03),
        comparison("strict", 0, 0, 600, 0.0),
    ]
    findings, fallen = judge(rows, equivalence=False)
    assert fallen == {"fell"}
    assert [finding.verdict for finding in findings] == ["fail", "pass", "warn", "warn"]
    assert "shown to be within it" in findings[1].found
    needed = findings[2].samples_needed
    assert needed is not None
    assert f"about {needed:,} samples would" in findings[2].found
    assert findings[3].samples_needed is None
    assert "no number of samples" in findings[3].found
    strict = judge(rows, equivalence=True)[0]
    assert [finding.verdict for finding in strict] == ["fail", "pass", "fail", "fail"]


def test_the_samples_that_are_said_to_be_needed_show_it_in_four_of_five_cases() -> None:
    few = comparison("few", 3, 3, 60, 0.03)
    needed = few.needed()
    assert needed is not None
    rng, shown = np.random.default_rng(0), 0
    for _ in range(300):
        change = rng.choice([-1.0, 1.0, 0.0], needed, p=[0.05, 0.05, 0.9])
        shown += Comparison("many", 0, 0, paired_difference(change), needed, 0.03).equivalent
    assert 0.75 <= shown / 300 <= 0.95


def results(correct: dict[str, float], task: str = "t") -> Results:
    return Results(tuple(SampleResult(name, task, "image", score, "", 0.0) for name, score in correct.items()))


def test_samples_that_must_pass() -> None:
    before = results({"a": 1, "b": 1, "c": 0, "d": 0.4})
    now = results({"a": 1, "b": 0, "c": 0, "d": 0.5})
    assert must_pass(now, before, ["a", "d"]).verdict == "pass"
    broken = must_pass(now, before, ["a", "b"])
    assert (broken.verdict, broken.found) == ("fail", "1 of 2; broken: 'b'")
    assert must_pass(now, before, ["a", "c"]).verdict == "warn"  # was wrong before: says nothing
    assert must_pass(now, None, ["c"]).verdict == "fail"  # without a baseline right is right
    with pytest.raises(DataError, match="must-pass: sample 'e' is not among the 4"):
        must_pass(now, before, ["e"])


def test_tolerances_by_name() -> None:
    asked = Demands(tolerance=None, tolerances={"image": 0.1})
    file = measured(tolerance=0.02, tolerances={"image": 0.01, "video": 0.5, "task:ocr": 0.0})
    assert [asked.allowed(name, file) for name in ("image", "video", "audio")] == [0.1, 0.5, 0.02]
    assert Demands(tolerance=0.2).allowed("video", file) == 0.2
    assert asked.tasks(file) == ["ocr"]


def test_tasks_with_a_tolerance_are_compared_by_themselves() -> None:
    now, before = results({"a": 0, "b": 1}, "ocr"), results({"a": 1, "b": 1}, "ocr")
    rows = compare(now, before, measured(), Demands(tolerance=0.5, tolerances={"task:ocr": 0.0}))
    assert [(row.name, row.tolerance) for row in rows] == [("image", 0.5), ("task:ocr", 0.0)]
    with pytest.raises(DataError, match="task:mme is no task of the samples; known: ocr"):
        compare(now, before, measured(), Demands(tolerances={"task:mme": 0.0}))
    with pytest.raises(DataError, match="tolerance: 'nose' is not compared; known: image and task:NAME"):
        compare(now, before, measured(), Demands(tolerances={"nose": 0.0}))
