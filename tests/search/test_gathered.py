"""Results of many trials, kept together."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from autotc.errors import DataError
from autotc.results import Results, SampleResult
from autotc.search import gathered
from autotc.search.gathered import NAME, Gathered


def results(seed: int, count: int = 5) -> Results:
    """Outcomes with an answer of their own, and with numbers that are none."""
    rng = np.random.default_rng(seed)
    return Results(
        SampleResult(
            f"s{i}", "task", "image" if i < 3 else "audio", float(i % 2), f"answer {seed % 3}", *rng.normal(size=1)
        )
        for i in range(count)
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six files, gathered by a first process."""
    monkeypatch.setattr(gathered, "_FEWEST", 4)
    told: list[str] = []
    first = Gathered(tmp_path, told.append)
    for seed in range(6):
        path = results(seed, 5 if seed % 2 else 4).save(tmp_path / f"{seed}.samples.parquet")
        assert first.load(path) == results(seed, 5 if seed % 2 else 4)
    first.save()
    assert (tmp_path / NAME).exists()
    assert told == []
    return tmp_path


def again(folder: Path) -> tuple[Gathered, list[str], list[Path]]:
    """As the next process finds it."""
    told: list[str] = []
    return Gathered(folder, told.append), told, sorted(folder.glob("*.parquet"))


def test_the_next_process_reads_no_file_of_a_trial(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, told, files = again(folder)
    monkeypatch.setattr(Results, "load", lambda path: pytest.fail(f"{path} was read"))
    loaded = [reader.load(path) for path in files]
    assert loaded == [results(seed, 5 if seed % 2 else 4) for seed in range(6)]
    assert [entry.mean() for entry in loaded] == [results(seed, 5 if seed % 2 else 4).mean() for seed in range(6)]
    assert loaded[0].samples[1] == results(0).samples[1]
    assert told == []


def test_a_file_that_has_changed_is_read_itself(folder: Path) -> None:
    reader, _, files = again(folder)
    results(9).save(files[0])
    os.utime(files[0], ns=(1, 1))
    assert reader.load(files[0]) == results(9)
    files[1].unlink()
    with pytest.raises(DataError, match="no such file"):
        reader.load(files[1])


@pytest.mark.parametrize("at", [0, 10, 70, 500, -1])
def test_a_damaged_file_is_told_of_and_does_not_count(folder: Path, at: int) -> None:
    data = bytearray((folder / NAME).read_bytes())
    data[at] ^= 1
    (folder / NAME).write_bytes(data)
    reader, told, files = again(folder)
    assert [reader.load(path) for path in files] == [results(seed, 5 if seed % 2 else 4) for seed in range(6)]
    assert len(told) == 1
    assert told[0].startswith(f"{folder / NAME}: is damaged")
    reader.save()
    after, told, _ = again(folder)
    assert after.load(files[0]) == results(0, 4)
    assert told == []


@pytest.mark.parametrize("left", [0, 30, 64, 200])
def test_a_file_cut_short_does_not_count(folder: Path, left: int) -> None:
    (folder / NAME).write_bytes((folder / NAME).read_bytes()[:left])
    reader, told, files = again(folder)
    assert reader.load(files[2]) == results(2, 4)
    assert len(told) == 1


def test_it_is_written_again_when_much_was_added(folder: Path) -> None:
    before = (folder / NAME).stat().st_mtime_ns
    reader, _, files = again(folder)
    for path in files:
        reader.load(path)
    reader.save()
    assert (folder / NAME).stat().st_mtime_ns == before
    for seed in range(10, 14):
        reader.load(results(seed).save(folder / f"{seed}.samples.parquet"))
    reader.save()
    assert (folder / NAME).stat().st_mtime_ns != before


def test_a_folder_that_cannot_be_written_is_told_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, told, files = again(folder)
    (folder / NAME).unlink()
    for path in files:
        reader.load(path)

    def full(path: Path, known: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gathered, "_write", full)
    reader.save()
    assert told == [f"{folder / NAME}: cannot be written (No space left on device); results stay in their own files"]
