"""The user's own data: what is read, what is refused and how, splits, metrics, media."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from autotc.errors import DataError
from autotc.evaluate.media import load_audio, load_image, load_video
from autotc.evaluate.metrics import find_metric
from autotc.evaluate.records import Record, load_records, record_clusters, split_records


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 6), (255, 0, 0)).save(tmp_path / "a.png")
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(800) / 5), 8000)
    np.save(tmp_path / "a.npy", np.zeros((4, 6, 8, 3), np.uint8))
    return tmp_path


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def row(**changes: Any) -> dict[str, Any]:
    out = {"id": "a", "images": ["a.png"], "prompt": "what?", "answer": "red", **changes}
    return {key: value for key, value in out.items() if value is not ...}


def test_reads_every_kind_of_media(folder: Path) -> None:
    path = write(
        folder,
        row(),
        "",
        row(id="b", images="a.png", audio="a.wav"),
        row(id=3, images=..., video=["a.npy"], answer=7),
    )
    records = load_records(path)
    assert [r.modality for r in records] == ["image", "image+audio", "video"]
    assert [r.line for r in records] == [1, 3, 4]
    assert records[0].images == (folder / "a.png",)
    assert (records[2].id, records[2].answer) == ("3", "7")


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([row(), "{'id': 1}"], ["line 2", "not JSON", "object"]),
        (["[1]"], ["line 1", "list", "object"]),
        ([row(picture="a.png")], ["line 1", "picture", "unknown key", "images"]),
        ([row(images=["b.png"])], ["line 1", "images", "b.png", "does not exist"]),
        ([row(images=..., audio="b.wav")], ["line 1", "audio", "b.wav", "does not exist"]),
        ([row(images="..")], ["line 1", "images", "'..'", "directory"]),
        ([row(images=[1])], ["line 1", "images", "[1]", "list of paths"]),
        ([row(images=..., video="a.wav")], ["line 1", "video", "a.wav", "folder of frames"]),
        ([row(images=...)], ["line 1", "no media"]),
        ([row(images=[])], ["line 1", "no media"]),
        ([row(id=...)], ["line 1", "id", "missing"]),
        ([row(answer="")], ["line 1", "answer", "''", "not empty"]),
        ([row(prompt=5)], ["line 1", "prompt", "5", "text"]),
        ([row(answer=True)], ["line 1", "answer", "True", "text"]),
        ([row(cluster=["a"])], ["line 1", "cluster", "['a']", "text"]),
        ([row(cluster="a", group="a")], ["line 1", "cluster", "group", "one of the two"]),
        ([row(), row(prompt="why?")], ["line 2", "id", "'a'", "line 1", "unique"]),
        ([""], ["is empty"]),
    ],
)
def test_bad_lines_are_one_line_that_says_what_is_right(folder: Path, rows: list[Any], parts: list[str]) -> None:
    path = write(folder, *rows)
    with pytest.raises(DataError) as caught:
        load_records(path)
    message = str(caught.value)
    assert "\n" not in message
    for part in [str(path), *parts]:
        assert part in message


def test_bad_files(folder: Path) -> None:
    with pytest.raises(DataError, match="is a directory"):
        load_records(folder)
    with pytest.raises(DataError, match="no such file"):
        load_records(folder / "none.jsonl")
    with pytest.raises(DataError, match="UTF-8"):
        load_records(folder / "a.png")


def records(n: int, kind: str = "images", shared: int = 1) -> list[Record]:
    return [Record(f"{kind}{i}", "q", "a", **{kind: (Path(f"/{kind}/{i // shared}"),)}) for i in range(n)]  # type: ignore[arg-type]


def test_splits_are_disjoint_complete_and_stratified() -> None:
    data = records(100) + records(50, "audio")
    splits = split_records(data, seed=0)
    ids = [r.id for members in splits.values() for r in members]
    assert sorted(ids) == sorted(r.id for r in data)
    for group, n in (("image", 100), ("audio", 50)):
        sizes = [sum(r.modality == group for r in splits[name]) for name in ("search", "val", "test")]
        assert sizes == [n * 4 // 10, n * 2 // 10, n * 4 // 10]


def test_splits_depend_on_seed_and_ids_not_on_the_order_of_lines() -> None:
    data = records(40)
    names = lambda splits: {name: {r.id for r in members} for name, members in splits.items()}  # noqa: E731
    assert names(split_records(data, 0)) == names(split_records(data[::-1], 0))
    assert names(split_records(data, 0)) != names(split_records(data, 1))


def test_samples_of_one_picture_stay_in_one_split() -> None:
    splits = split_records(records(60, shared=4), seed=3)
    pictures = [{path for r in members for path in r.media} for members in splits.values()]
    assert not pictures[0] & pictures[1]
    assert not pictures[0] & pictures[2]
    assert not pictures[1] & pictures[2]


def test_copies_of_a_picture_stay_in_one_split(tmp_path: Path) -> None:
    """Also links to it; pictures of equal size that differ are apart."""
    rows = []
    for i in range(30):
        path = tmp_path / f"{i}.bmp"
        Image.new("RGB", (8, 8), (i // 3, 0, 0)).save(path)
        if i % 3 == 2:
            path.unlink()
            path.symlink_to(tmp_path / f"{i - 1}.bmp")
        rows.append(Record(str(i), "q", "a", images=(path,)))
    for seed in range(4):
        splits = split_records(rows, seed)
        pictures = [{int(r.id) // 3 for r in members} for members in splits.values()]
        assert sum(map(len, pictures)) == len(set().union(*pictures)) == 10
    found = record_clusters(rows)
    assert len(set(found.values())) == 10
    assert {found["0"], found["1"], found["2"]} == {"media of 0"}


def test_too_few_samples_are_refused() -> None:
    assert all(split_records(records(3), 0).values())
    with pytest.raises(DataError, match="2 image samples leave the val split"):
        split_records(records(2), 0)
    with pytest.raises(DataError, match="share no media"):
        split_records(records(9, shared=9), 0)


@pytest.mark.parametrize(
    ("name", "said", "right", "score"),
    [
        ("exact", " Seven\n", "seven", 1.0),
        ("exact", "seven 7", "seven", 0.0),
        ("contains", "It is 10.", "10", 1.0),
        ("contains", "It is 10.", "1", 0.0),
        ("contains", "a (b", "(b", 1.0),
    ],
)
def test_metrics(name: str, said: str, right: str, score: float) -> None:
    assert find_metric(name)(said, right) == score


def test_metric_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own_metric.py").write_text("def half(said, right):\n    return 0.5\ndef bad(said, right):\n    return 'x'\n")
    assert find_metric("own_metric:half")("", "") == 0.5
    with pytest.raises(DataError, match=r"returned 'x'; a number in \[0, 1\]"):
        find_metric("own_metric:bad")("", "")
    for name in ("own_metric:none", "no_such_module:f", "close", "exact:"):
        with pytest.raises(DataError, match="metric"):
            find_metric(name)


def test_media(folder: Path) -> None:
    assert load_image(folder / "a.png").size == (8, 6)
    assert load_audio(folder / "a.wav", 8000).shape == (800,)
    assert load_audio(folder / "a.wav", 16000).shape == (1600,)
    assert load_video(folder / "a.npy").frames.shape == (4, 6, 8, 3)
    frames = folder / "frames"
    frames.mkdir()
    for i in range(11):
        Image.new("RGB", (8, 6), (i, 0, 0)).save(frames / f"f{i}.png")
    assert load_video(frames).frames[:, 0, 0, 0].tolist() == list(range(11))
    pictures = [Image.new("RGB", (8, 6), (80 * i, 0, 0)) for i in range(3)]
    pictures[0].save(folder / "a.gif", save_all=True, append_images=pictures[1:], duration=250)
    clip = load_video(folder / "a.gif")
    assert clip.frames.shape == (3, 6, 8, 3)
    assert clip.fps == 4


def test_bad_media(folder: Path) -> None:
    (folder / "bad.png").write_bytes(b"no picture")
    (folder / "bad.wav").write_bytes(b"no sound")
    (folder / "bad.npy").write_bytes(b"no array")
    (folder / "empty").mkdir()
    np.save(folder / "grey.npy", np.zeros((4, 6, 8), np.uint8))
    for call, name in [
        (load_image, "bad.png"),
        (lambda path: load_audio(path, 16000), "bad.wav"),
        (load_video, "bad.npy"),
        (load_video, "empty"),
        (load_video, "grey.npy"),
        (load_video, "a.wav"),
    ]:
        with pytest.raises(DataError, match=r"expected|supported") as caught:
            call(folder / name)
        assert name in str(caught.value)
    damaged = (folder / "a.png").read_bytes()
    (folder / "cut.png").write_bytes(damaged[:50])
    with pytest.raises(DataError, match=r"cut\.png"):
        load_image(folder / "cut.png")
