"""A study's way to production through a real MLflow server: registered, promoted, rolled back, taken by alias."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from mlflow.tracking import MlflowClient

import autotc
from autotc.cli import main
from autotc.errors import DataError, PolicyError
from autotc.policy import Policy, local_file
from autotc.search.result import SearchResult
from autotc.search.session import search
from autotc.serve.served import read_served
from autotc.tiny import load
from tests.report.browser import CHROMIUM, needs_chromium
from tests.search.synthetic import SyntheticEvaluator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server, named by the environment as users do."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artefacts")]
    uri = f"http://127.0.0.1:{port}"
    with (folder / "log").open("w") as log, pytest.MonkeyPatch.context() as patch:
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for _ in range(240):
            try:
                urlopen(f"{uri}/health", timeout=2)
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.5)
        yield uri
        os.killpg(process.pid, 15)
        process.wait(30)


@pytest.fixture(scope="module")
def result(server: str, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    root = tmp_path_factory.mktemp("registered")
    return search(
        SyntheticEvaluator(),
        trials=16,
        runs=root / "runs",
        out_dir=root / "policies",
        name="m <b>&",
        register_as="ours",
    )


def test_a_search_registers_what_it_exports(result: SearchResult) -> None:
    (first,) = autotc.registry().versions
    assert (first.name, first.version, first.aliases) == ("ours", 1, ("challenger", "champion"))
    assert "FLOPs ratio" in first.description
    file = local_file("models:/ours@champion")
    assert Policy.load("models:/ours@champion") == Policy.load(result.policy)
    assert (
        file.with_suffix(".samples.parquet").read_bytes() == result.policy.with_suffix(".samples.parquet").read_bytes()
    )
    assert file.with_suffix(".uncompressed.samples.parquet").exists()


def test_it_is_taken_wherever_a_policy_file_is(result: SearchResult, capsys: pytest.CaptureFixture[str]) -> None:
    named = "models:/ours/1"
    policy = Policy.load(result.policy)
    model, _ = load()
    with pytest.raises(PolicyError, match="Synthetic"):  # read, and refused for this model
        autotc.apply(model, named)
    assert autotc.show(named).policy == policy
    assert autotc.check(named, SyntheticEvaluator()).passed
    assert autotc.check(result.policy, SyntheticEvaluator(), baseline=named).passed
    with pytest.raises(DataError, match="accept: models:/ours/1 is a version"):
        autotc.check(named, SyntheticEvaluator(), accept=True)
    assert read_served({"policy": named}).hash == policy.content_hash()
    assert main(["export", named, "--to", "sglang"]) in (0, 1)
    assert "Synthetic" not in capsys.readouterr().err
    (check,) = autotc.validate(named)
    assert check.kind == "policy" or "Synthetic" in (check.message or "")


def test_promotion_and_rollback(result: SearchResult, tmp_path: Path) -> None:
    newer = Policy.load(result.policy).model_copy(update={"stages": Policy.load(result.policy).stages[:1]})
    file = newer.save(tmp_path / "newer.yaml")
    assert autotc.registry("register", "ours", policy=file).done == "ours has version 2"
    assert Policy.load("models:/ours@champion").stages != newer.stages
    assert Policy.load("models:/ours@challenger").stages == newer.stages
    assert autotc.registry("promote", "ours").done == "ours@champion is version 2"
    assert Policy.load("models:/ours@champion").stages == newer.stages
    assert autotc.registry("rollback", "ours").done == "ours@champion is version 1 again"
    assert Policy.load("models:/ours@champion") == Policy.load(result.policy)
    assert autotc.registry("promote", "ours", version=2, alias="canary").done == "ours@canary is version 2"
    by_version = {one.version: one.aliases for one in autotc.registry("list", "ours").versions}
    assert by_version == {1: ("champion",), 2: ("canary", "challenger")}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("models:/ours@nobody", "alias nobody not found"),
        ("models:/none@champion", "none"),
        ("models:/ours/9", "version=9"),
        ("models:/ours", "is no policy of MLflow; models:/NAME@ALIAS"),
        ("runs:/0123456789abcdef0123456789abcdef", "0123456789abcdef"),
    ],
)
def test_what_is_not_there_is_told_in_a_line(result: SearchResult, name: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.load(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_does_not_go_together_is_refused(result: SearchResult) -> None:
    for wrong, message in (
        (lambda: autotc.registry("promote"), "promote: NAME missing"),
        (lambda: autotc.registry("register", "ours"), "register: POLICY missing"),
        (lambda: autotc.registry("list", policy=result.policy), "takes no policy file"),
        (lambda: autotc.registry("rollback", "ours", alias="never"), "was never promoted"),
        (lambda: autotc.registry("register", "a/b", policy=result.policy), "a name without /, : and @"),
    ):
        with pytest.raises((DataError, PolicyError), match=message):
            wrong()


def test_a_server_that_is_down_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(PolicyError, match=r"MLflow at http://127\.0\.0\.1:9 says"):
        Policy.load("models:/ours@champion")


def test_the_parent_run_says_what_was_found(result: SearchResult, server: str) -> None:
    client = MlflowClient(server)
    (experiment,) = [one for one in client.search_experiments() if one.name == "autotc"]
    found = client.search_runs(
        [experiment.experiment_id],
        "tags.`autotc.modalities` = 'image,video,audio' and tags.`autotc.model` = 'Synthetic'",
    )
    (run,) = found
    note = run.data.tags["mlflow.note.content"]
    assert "the exported policy keeps an accuracy of" in note
    assert "best preset of each modality" in note
    assert "autotc check" in note
    assert "| FLOPs |" in note
    assert "<b>" not in note  # the study's name
    assert "divprune" in run.data.tags["autotc.mechanisms"] or run.data.tags["autotc.mechanisms"]
    names = {one.dataset.name for one in run.inputs.dataset_inputs}
    assert names == {"builtin search", "builtin val", "builtin test"}
    forwards = client.get_metric_history(run.info.run_id, "hypervolume by forwards")
    assert max(point.step for point in forwards) <= result.forwards
    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "front.html", "front.png", "policy"} <= files
    assert local_file(f"runs:/{run.info.run_id}").is_file()


@needs_chromium
def test_the_pages_of_the_stock_interface(result: SearchResult, server: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    client = MlflowClient(server)
    (experiment,) = [one for one in client.search_experiments() if one.name == "autotc"]
    (run,) = client.search_runs([experiment.experiment_id], "tags.`autotc.model` = 'Synthetic'")
    page_of = f"{server}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(page_of)
        page.get_by_text("keeps an accuracy of").first.wait_for(timeout=60_000)
        page.screenshot(path=tmp_path / "run.png")
        page.goto(f"{page_of}/artifacts/front.html")
        point = page.frame_locator("iframe").locator(".mark.found").first
        point.wait_for(timeout=60_000)
        point.hover(force=True)
        assert "accuracy" in page.frame_locator("iframe").locator("#tip").inner_text()
        page.screenshot(path=tmp_path / "artefact.png")
        page.goto(f"{server}/#/models/ours")
        page.get_by_text("champion").first.wait_for(timeout=60_000)
        page.screenshot(path=tmp_path / "model.png")
        browser.close()
