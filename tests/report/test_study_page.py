"""The report of a study: one page, tried in a browser; its Markdown; a study that runs still."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

import autotc
from autotc.errors import DataError
from autotc.pareto import knee
from autotc.policy import Stage
from autotc.records.account import Changed, Looked, StudyAccount, Tried
from autotc.report.figures.svg import Scale
from autotc.report.study_page import answer, front_html, study_html, study_markdown
from autotc.report.tables import markdown_text
from autotc.report.tradeoffs import at_locations, pairs
from autotc.search.account import study_account
from autotc.search.home import Home
from autotc.search.result import SearchResult
from autotc.search.session import search
from autotc.search.storage import load_study
from autotc.vocabulary import Location
from tests.report.browser import needs_chromium, opened, serious_problems
from tests.search.synthetic import SyntheticEvaluator

EVIL = "<script>alert(1)</script>\" onload='x' &amp;"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reported") / "runs"


@pytest.fixture(scope="module")
def result(runs: Path) -> SearchResult:
    return search(SyntheticEvaluator(), trials=40, track=False, runs=runs, out_dir=runs.parent / "policies", name="m")


@pytest.fixture(scope="module")
def account(result: SearchResult, runs: Path) -> StudyAccount:
    return study_account(result.study, Home.of(runs))


def test_the_account_agrees_with_the_search(account: StudyAccount, result: SearchResult) -> None:
    assert len(account.tried) == result.trials
    assert account.refused == result.refused
    assert account.raced == result.raced
    assert account.progress[-1].hypervolume == pytest.approx(result.hypervolume)
    assert account.progress[-1].forwards <= result.forwards  # raced policies after the last full one
    assert [row.trial for row in account.tested] == [row.trial for row in result.front]
    chosen = next(row for row in result.front if row.chosen)
    assert account.chosen is not None
    assert account.chosen.trial == chosen.trial
    assert account.chosen.difference == chosen.difference["overall"]
    assert account.policy == str(result.policy)
    assert account.importances
    assert account.samples["test"]["image"] == 60


def test_tokens_left_at_each_place(account: StudyAccount) -> None:
    chosen = account.chosen
    assert chosen is not None
    for modality in ("image", "video", "audio"):
        left = account.left(chosen.stages, modality)
        assert list(left)[:2] == ["input", "tower 0"]
        assert list(left)[-1] == "layer 5"
        assert list(left.values()) == sorted(left.values(), reverse=True)
        last = [stage.final_ratio for stage in chosen.stages if stage.modality == modality]
        assert left["layer 5"] == min(last, default=1.0)


def test_a_page_travels(account: StudyAccount) -> None:
    page = study_html(account)
    assert len(page.encode()) < 2_000_000
    assert not re.search(r"(?:src|href)=\"(?!data:)|url\(|@import|https?://", page)
    assert answer(account) in page.replace("&#39;", "'")
    small = front_html(account)
    assert len(small.encode()) < 200_000
    assert small.count('class="mark ') == len(account.tried) + 1  # and the uncompressed model


def test_every_text_is_escaped(account: StudyAccount) -> None:
    evil = replace(
        account,
        study=EVIL,
        model=EVIL,
        evaluator=EVIL,
        policy=EVIL,
        changed=(Changed(EVIL, EVIL, "image", EVIL, EVIL, -1.0),),
        conflicts=(EVIL,),
        looked=(Looked(EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, "data:image/webp;base64,"),),
        refused={EVIL: 1},
        importances={EVIL: 0.5},
        versions={EVIL: EVIL},
        usual_tokens={EVIL: 10.0, **account.usual_tokens},
    )
    for page in (study_html(evil), front_html(evil)):
        assert "<script>alert" not in page
        assert "onload='x'" not in page
    assert "<script>alert" not in study_markdown(evil)


@needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light")])
def test_the_page_in_a_browser(
    account: StudyAccount, tmp_path: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    path = tmp_path / "report.html"
    path.write_text(study_html(account), encoding="utf-8")
    with opened(path, width=width, scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert serious_problems(page) == []
        tip, point = page.locator("#tip"), page.locator(".mark.found").first
        assert not tip.is_visible()
        point.focus()
        assert tip.is_visible()
        assert "accuracy" in tip.inner_text()
        assert "FLOPs ratio" in tip.inner_text()
        page.keyboard.press("Escape")
        assert not tip.is_visible()
        page.locator(".mark.usual").first.hover(force=True)
        assert "uncompressed" in tip.inner_text()
        table = page.get_by_role("region", name="front on the test split")
        assert table.locator("tbody tr").count() == len(account.tested)
        assert "exported" in table.locator("tr.chosen").inner_text()
        page.emulate_media(media="print")
        assert not tip.is_visible()


def test_a_study_that_has_not_ended_says_what_is_missing(account: StudyAccount) -> None:
    running = replace(account, tested=(), worth=None, changed=(), policy=None)
    page = study_html(running)
    assert "has not ended" in page
    assert "So far, the best policy keeps" in page
    assert "accuracy on search" in study_markdown(running)
    begun = replace(running, tried=(), progress=(), importances={}, uncompressed=None, usual_tokens={})
    assert "No policy has run" in study_html(begun)
    assert "No policy has run" in study_markdown(begun)


def test_markdown(account: StudyAccount) -> None:
    text = study_markdown(account)
    assert markdown_text(answer(account)) in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == len(account.tested) + 2
    assert sum("exported" in row for row in rows) == 1


def test_from_python_and_the_shell(
    result: SearchResult, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from autotc.cli import main

    assert (load_study(result.study, Home.of(runs)).folder / "report.html").exists()  # a search ends with it
    written = autotc.report(result.study, runs=runs, out=tmp_path / "r.html")
    assert written.file.read_text(encoding="utf-8") == study_html(study_account(result.study, Home.of(runs)))
    assert main(["report", "--format", "md", "--runs", str(runs)]) == 0
    assert f"wrote {runs / result.study / 'report.md'}" in capsys.readouterr().out
    with pytest.raises(DataError, match="study: 'none' is not in"):
        autotc.report("none", runs=runs)
    with pytest.raises(DataError, match="--out"):
        autotc.report(result.study, runs=runs, out=tmp_path)


def test_knees() -> None:
    assert knee([(0.1, 0.2), (0.3, 0.8), (0.9, 0.9)]) == (0.3, 0.8)
    assert knee([(0.1, 0.2), (0.5, 0.5), (0.9, 0.8)]) is None  # on the line
    assert knee([(0.1, 0.2), (0.9, 0.8)]) is None


def test_scales_have_round_ticks() -> None:
    assert Scale(0, 1.05, 0, 100).ticks() == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert Scale(0.61, 0.99, 0, 100).ticks() == [0.7, 0.8, 0.9]
    assert Scale(2, 2, 0, 100)(2) == 0


# --- places and stacks ---


def tried(stages: tuple[Stage, ...], accuracy: float, cost: float) -> Tried:
    by = {"image": accuracy}
    return Tried(0, "found", stages, "x", accuracy, by, cost, {"image": cost}, {})


def stage(mechanism: str, location: Location, ratio: float) -> Stage:
    layer = 1 if location in ("encoder", "decoder") else None
    return Stage(modality="image", location=location, mechanism=mechanism, keep_ratio=ratio, layer=layer)


def test_places_and_stacks_by_hand(account: StudyAccount) -> None:
    tome, fastv = stage("tome", "encoder", 0.5), stage("fastv", "decoder", 0.25)
    made = replace(
        account,
        budget={"prefill FLOPs": 0.5},
        tried=(
            tried((), 1.0, 1.0),
            tried((tome,), 0.8, 0.45),
            tried((stage("tome", "encoder", 0.9),), 0.95, 0.9),
            tried((fastv,), 0.7, 0.6),
            tried((tome, fastv), 0.6, 0.5),  # tome alone has 0.8 at 0.45
            tried((tome, stage("fastv", "decoder", 0.5)), 0.9, 0.7),  # the best single stage up to 0.7 has 0.8
        ),
    )
    encoder, decoder = at_locations(made, "image")
    assert (encoder.location, encoder.policies, encoder.accuracy, encoder.flops_ratio) == ("encoder", 2, 0.8, 0.45)
    assert (decoder.location, decoder.lowest, decoder.stages) == ("decoder", 0.6, None)
    found = pairs(made, "image")
    assert (found.firsts, found.thens) == (("tome at the encoder",), ("fastv at the decoder",))
    assert found.cells == {("tome at the encoder", "fastv at the decoder"): (pytest.approx((-0.2 + 0.1) / 2), 2)}
    page = study_html(made)
    assert "What each location can do" in page
    assert "none within the budget" in page
    assert ">-5.0 (2)<" in page
