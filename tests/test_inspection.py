"""``autotc show``: a policy alone, and requests drawn at every stage."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import autotc
from autotc import cli
from autotc.inspection import check_request
from autotc.policy import Policy, Stage
from autotc.records.shown import MediumView, Panel, StageOutcome, TokenGrid
from autotc.report.figures import overlay_data_uri, overlay_png, overlay_webp, page_html
from autotc.report.figures.page import PAGE_BYTES, PAGE_REQUESTS, overlay_pages
from autotc.report.figures.tokens import draw_tokens

EVIL = "<script>alert(1)</script>"
POLICY = Policy(
    stages=(
        Stage(modality="image", location="encoder", layer=1, mechanism="tome", keep_ratio=0.75),
        Stage(modality="image", location="decoder", layer=2, mechanism="fastv", keep_ratio=0.25),
    )
)


@pytest.fixture(scope="module")
def evaluator() -> Any:
    return autotc.evaluator()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("show")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (3000, 4000, 3), dtype=np.uint8)).save(folder / "a.jpg", quality=60)
    np.save(folder / "v.npy", rng.integers(0, 255, (6, 112, 112, 3), dtype=np.uint8))
    POLICY.save(folder / "x.yaml")
    return folder


@pytest.fixture(scope="module")
def shown(evaluator: Any, files: Path) -> Any:
    request: dict[str, Any] = {"image": [files / "a.jpg"], "video": [files / "v.npy"], "prompt": EVIL, "answer": EVIL}
    return autotc.show(POLICY, evaluator, out=files / "x.html", **request)


class _Page(HTMLParser):
    """Tags of a page, and addresses and alternative texts of its pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.pictures.append(dict(attrs))


def test_a_page_holds_all_it_needs_and_escapes_what_it_shows(shown: Any) -> None:
    (path,) = shown.files
    text = path.read_text(encoding="utf-8")
    page = _Page(text)
    assert len(text) < PAGE_BYTES
    assert {"script", "link", "iframe"}.isdisjoint(page.tags)
    assert "http" not in text
    assert EVIL not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    # Three stages of the image, and the video, which no stage acts on.
    assert len(page.pictures) == 4
    assert all(str(picture["src"]).startswith("data:image/webp;base64,") for picture in page.pictures)
    assert all(picture["alt"] for picture in page.pictures)
    assert "No stage of the policy acts on video." in text
    assert "prefers-color-scheme: dark" in text


def test_many_requests_fit_into_a_page(shown: Any) -> None:
    assert len(page_html(shown.requests * PAGE_REQUESTS).encode()) < PAGE_BYTES


def test_more_requests_go_to_more_pages(shown: Any, tmp_path: Path) -> None:
    paths = overlay_pages(shown.requests * (2 * PAGE_REQUESTS + 1), tmp_path / "x.html")
    assert [path.name for path in paths] == ["x-1.html", "x-2.html", "x-3.html"]
    assert all(path.stat().st_size < PAGE_BYTES for path in paths)
    assert len(_Page(paths[2].read_text(encoding="utf-8")).pictures) == 4


@pytest.mark.parametrize("side", [7, 24, 40, 56])
def test_every_pixel_is_some_tokens(side: int) -> None:
    """Neighbours' shared edges differ in their last bits, and half a pixel is to round alike for both."""
    edges = np.arange(side + 1) / side
    spans = np.array([(0, 1, y, y + 1 / side, x, x + 1 / side) for y in edges[:-1] for x in edges[:-1]])
    count = side * side
    grid = TokenGrid(spans, np.zeros(count, dtype=int), (Panel(""),))
    kept = np.arange(count) == count - 1
    dropped = StageOutcome("", "projector", grid, np.where(kept, 0, -1), kept)
    content = np.full((70, 70, 3), 255, dtype=np.uint8)
    medium = MediumView("image", (1, 70, 70), (dropped,), content)
    last = -(-420 // side)
    drawn = np.asarray(draw_tokens(medium, dropped))[..., :3]
    assert drawn[: -last - 1].max() < 255
    assert drawn[:, : -last - 1].max() < 255


def test_words_and_json(shown: Any) -> None:
    assert "image decoder[2] fastv" in shown.text()
    assert "no stage      acts on video" in shown.text()
    assert EVIL not in shown._repr_html_()
    (request,) = json.loads(json.dumps(shown.to_json()))["requests"]
    assert request["answer"]["score"] == 0
    assert [medium["modality"] for medium in request["media"]] == ["image", "video"]
    image = request["media"][0]["stages"]
    assert len(image[0]["boxes"]) == len(image[2]["group"]) == len(image[2]["kept"])
    assert "boxes" not in image[2]


def test_small_pictures_for_pages(shown: Any) -> None:
    (view,) = shown.requests
    assert len(overlay_webp(view, limit=5000)) <= 5000
    assert overlay_data_uri(view, medium=1).startswith("data:image/webp;base64,")


def test_pixels_of_kept_merged_and_dropped_tokens(shown: Any) -> None:
    from autotc.report.figures.tokens import draw_tokens, survivor_color

    medium = shown.requests[0].media[0]
    before, merged, last = (np.asarray(draw_tokens(medium, s), dtype=float)[..., :3] for s in medium.stages)
    boxes = medium.stages[0].grid.boxes[:, 2:] * np.repeat(before.shape[:2], 2)
    middles = [(int((y0 + y1) / 2), int((x0 + x1) / 2)) for y0, y1, x0, x1 in boxes]
    survivors = np.flatnonzero(medium.stages[1].kept)
    kinds = set()
    for token, place in enumerate(middles):
        if medium.stages[1].merged[token]:
            color = np.array(survivor_color(int(survivors[medium.stages[1].group[token]])))
            assert np.abs(merged[place] - (before[place] + color) / 2).max() <= 2
            kinds.add("merged")
        if medium.stages[2].group[token] < 0:
            assert np.ptp(last[place]) <= 1  # grey
            kinds.add("dropped")
        elif not medium.stages[2].merged[token]:
            assert last[place].tolist() == before[place].tolist()
            kinds.add("kept")
    assert kinds == {"merged", "dropped", "kept"}


def test_a_figure(shown: Any, tmp_path: Path) -> None:
    path = overlay_png(shown.requests[0], tmp_path / "x.png")
    assert Image.open(path).width > 1000


def test_the_command(files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    code = cli.main(["show", "x.yaml", "--sample", "test-audio-0000", "--sample", "test-image-0000", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["files"] == ["runs/show/x-2-requests.html"]
    assert document["requests"][0]["untouched"] == ["audio"]
    assert (files / document["files"][0]).exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--image", "none.jpg", "--prompt", "x"], ["--image", "none.jpg", "no such file"]),
        (["--image", "x.yaml", "--prompt", "x"], ["--image", "x.yaml", "cannot be decoded"]),
        (["--image", "x.yaml"], ["--prompt", "missing"]),
        (["--prompt", "x"], ["--prompt", "without --image"]),
        (["--out", "x.html"], ["--out", "without a request"]),
        (["--samples", "1", "--out", "x.pdf"], ["--out", "x.pdf", ".png"]),
        (["--sample", "nothing"], ["--sample", "nothing", "search-image-0000"]),
        (["--model", "x"], ["--model", "without a request"]),
    ],
    ids=lambda v: " ".join(v),
)
def test_wrong_requests(
    files: Path,
    arguments: list[str],
    parts: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(files)
    code = cli.main(["show", "x.yaml", *arguments])
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert captured.err.count("\n") == 1
    assert all(part in captured.err for part in parts), captured.err


def test_a_policy_alone_is_no_request() -> None:
    assert not check_request({}, None)
    assert autotc.show("none").requests == ()
