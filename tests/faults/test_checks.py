"""Checks on files that are wrong: one line each, never a pass, and JUnit says that it was an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch

from autotc.check import check, errors_as_junit
from autotc.errors import MESSAGE_LENGTH, DataError, NotFiniteError, PolicyError
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.files import write_text
from autotc.gate.baseline import samples_path
from autotc.policy import Measured, Policy
from autotc.results import Results
from autotc.statistics import Interval
from autotc.tiny import load

from ..test_check import Told, write


def table(change: Callable[[pd.DataFrame], pd.DataFrame], path: Path) -> Path:
    """The samples file of a policy that was measured, changed."""
    samples = samples_path(path)
    change(pd.read_parquet(samples)).to_parquet(samples, index=False)
    return path


def with_column(name: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.assign(**{name: value})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (with_column("correct", "yes"), "correct: 'yes' given; a number is right"),
        (with_column("correct", np.nan), "correct: nan given; a score in [0, 1] is right"),
        (with_column("correct", 2.0), "correct: 2.0 given; a score in [0, 1] is right"),
        (with_column("correct", True), "correct: True given; a number is right"),
        (with_column("log_probability", "x" * 5000), "log_probability: 'xxx"),
        (with_column("id", 7), "id: 7 given; a text is right"),
        (with_column("id", "same"), "id: 'same' given twice"),
        (lambda frame: frame.head(0), "holds no samples"),
        (lambda frame: frame.drop(columns="modality"), "has no column 'modality'"),
    ],
)
def test_a_samples_file_that_is_wrong(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], told: str
) -> None:
    path = table(change, write(tmp_path, Told()))
    evaluator = Told()
    with pytest.raises(DataError) as raised:
        check(path, evaluator)
    message = str(raised.value)
    assert told in message
    assert "x.samples.parquet" in message
    assert len(message) <= MESSAGE_LENGTH
    assert "\n" not in message
    assert not evaluator.ran, "it is told before anything runs"


@pytest.mark.parametrize("text", [b"", b"PAR1", b"PAR1" + bytes(500) + b"PAR1", b"id,correct\na,1\n"])
def test_what_is_no_samples_file(tmp_path: Path, text: bytes) -> None:
    path = write(tmp_path, Told())
    samples_path(path).write_bytes(text)
    with pytest.raises(DataError, match="is not a samples file") as raised:
        check(path, Told())
    assert len(str(raised.value).splitlines()) == 1


def test_a_samples_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, Told())
    before = samples_path(path).read_bytes()

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(DataError, match="No space left on device"):
        Results(Told().run(Policy(), "test").samples).save(samples_path(path))
    assert samples_path(path).read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["autotc-policy.schema.json", "x.samples.parquet", "x.yaml"]


def test_logits_that_are_not_finite_fail_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, Told())
    evaluator = Told()

    def broken(*args: Any, **kwargs: Any) -> Results:
        raise NotFiniteError("fastv: 3 of 6 samples gave logits that are not finite")

    monkeypatch.setattr(evaluator, "run", broken)
    report = check(path, evaluator)
    assert not report.passed
    (finding,) = [finding for finding in report.findings if finding.what == "logits"]
    assert (finding.expected, finding.verdict) == ("finite", "fail")
    assert "3 of 6 samples" in finding.found


def test_a_checkpoint_that_gives_no_numbers_is_no_pass(tmp_path: Path) -> None:
    """One matrix of NaN: the right answers' count is 0, and that is not what the file says."""
    model, processor = load()
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    evaluator = BuiltinEvaluator(model, processor)
    measured = Measured(
        evaluator="builtin",
        split="val",
        samples={"image": 2},
        samples_sha256=evaluator.info("val").sha256,
        accuracy={"image": Interval(0.0, 0.0, 0.0)},
        flops_ratio=1.0,
    )
    path = Policy(model=evaluator.model, measured=measured).save(tmp_path / "x.yaml")
    with pytest.raises(DataError, match="not finite"):
        check(path, evaluator)


def test_junit_of_an_error(tmp_path: Path) -> None:
    file = tmp_path / "check.xml"
    with pytest.raises(PolicyError), errors_as_junit(tmp_path / "none.yaml", file):
        check(tmp_path / "none.yaml", Told())
    suite = ElementTree.parse(file).getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("errors"), suite.get("failures")) == ("1", "0")
    error = suite.find("testcase/error")
    assert error is not None
    assert "no such file" in (error.get("message") or "")
    with errors_as_junit(tmp_path / "none.yaml", None):
        pass


def test_junit_holds_no_sign_that_xml_does_not_know(tmp_path: Path) -> None:
    report = check(write(tmp_path, Told(sha256="abc")), Told(sha256="\x00\x1b[2Jother"))
    file = write_text(tmp_path / "check.xml", report.to_junit(), "--junit")
    suite = ElementTree.parse(file).getroot().find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "1"
    with pytest.raises(DataError, match="--junit"):
        write_text(tmp_path, report.to_junit(), "--junit")
