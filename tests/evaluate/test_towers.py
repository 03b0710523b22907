"""Towers' outputs that the processes of a machine share: equal results, and whatever may happen to the files."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import autotc
from autotc.cli.program import main
from autotc.errors import AutotcWarning, DataError
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.evaluate.towers import LIMIT_VARIABLE, VARIABLE, cache_of
from autotc.evaluate.towers.cache import TowerCache
from autotc.evaluate.towers.files import DamagedError, read_packed, write_packed
from autotc.evaluate.towers.packing import Packed, pack, unpack
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.results import Results

CPU = torch.device("cpu")
ROOMY = 10**9
READS_SCORES = Policy.of(
    [
        Stage(modality="image", location="projector", mechanism="visionzip", keep_ratio=0.4),
        Stage(modality="video", location="projector", mechanism="visionzip", keep_ratio=0.4),
        Stage(modality="audio", location="projector", mechanism="received_attention", keep_ratio=0.4),
    ]
)
LATE = Policy.of([Stage(modality="image", location="decoder", layer=2, mechanism="fastv", keep_ratio=0.4)])
EARLY = Policy.of([Stage(modality="image", location="encoder", layer=0, mechanism="tome", keep_ratio=0.5)])
POLICIES = (UNCOMPRESSED, READS_SCORES, LATE, EARLY)


def evaluator_in(folder: Path | None, *, limit: int = ROOMY, **options: int) -> BuiltinEvaluator:
    evaluator = BuiltinEvaluator(batch_size=options.get("batch_size", 2))
    evaluator.towers.cache = None if folder is None else TowerCache(folder, limit)
    return evaluator


def results(evaluator: BuiltinEvaluator, policies: tuple[Policy, ...] = POLICIES) -> list[Results]:
    return [evaluator.run(policy, "val", limit=2) for policy in policies]


def tower_runs(evaluator: BuiltinEvaluator) -> list[str]:
    """The towers that run from now on, once a run."""
    ran: list[str] = []
    base = evaluator.loaded.model
    for name, tower in (("sight", base.visual), ("sound", base.audio_tower)):
        tower.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    return ran


@pytest.fixture(scope="module")
def without() -> list[Results]:
    return results(evaluator_in(None))


def entry(value: float = 1.0, size: int = 1000) -> Packed:
    return pack({"a": torch.full((size,), value), "b": [torch.arange(3), None, ("x", 2.5)]}, CPU)


# --- results ---


def test_results_are_equal_and_the_next_process_runs_no_tower(tmp_path: Path, without: list[Results]) -> None:
    first = evaluator_in(tmp_path)
    assert results(first) == without
    assert not first.prepared(UNCOMPRESSED, "val", "image", 2)[0].features._memory  # type: ignore[attr-defined]
    second = evaluator_in(tmp_path)
    ran = tower_runs(second)
    assert results(second, POLICIES[:3]) == without[:3]
    assert ran == []
    assert results(second, (EARLY,)) == without[3:]
    assert set(ran) == {"sight"}


def test_what_outputs_depend_on_is_in_their_names(tmp_path: Path) -> None:
    results(evaluator_in(tmp_path), (UNCOMPRESSED,))
    known = {path.name for path in tmp_path.iterdir()}

    def names(evaluator: BuiltinEvaluator) -> set[str]:
        results(evaluator, (UNCOMPRESSED,))
        return {path.name for path in tmp_path.iterdir()} - known

    assert names(evaluator_in(tmp_path)) == set()
    trained = evaluator_in(tmp_path)
    with torch.no_grad():
        trained.loaded.model.visual.blocks[0].mlp.up_proj.weight[0, 0] += 1e-3
    eager = evaluator_in(tmp_path)
    eager.loaded.set_attn_implementation("eager")
    for other in (trained, eager, evaluator_in(tmp_path, batch_size=1)):
        new = names(other)
        assert new
        known |= new
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert names(evaluator_in(tmp_path))
    finally:
        torch.set_num_threads(threads)


def test_without_a_folder_a_process_remembers_within_a_bound(without: list[Results]) -> None:
    evaluator = evaluator_in(None)
    before = evaluator.towers.free
    assert results(evaluator) == without
    ran = tower_runs(evaluator)
    again = BuiltinEvaluator(batch_size=2)
    again.batches.pieces = evaluator.batches.pieces
    assert results(again, POLICIES[:3]) == without[:3]
    assert ran == []
    assert evaluator.towers.free < before
    evaluator = evaluator_in(None)
    evaluator.towers.free = 0
    assert results(evaluator, POLICIES[:2]) == without[:2]
    assert not list(evaluator.prepared(UNCOMPRESSED, "val", "image", 2)[0].features)


# --- writers ---

WRITER = """
import sys
from pathlib import Path
from tests.evaluate.test_towers import evaluator_in, results
sys.stdin.readline()
for measured in results(evaluator_in(Path(sys.argv[1]))):
    print(measured.samples)
"""


def test_processes_may_write_at_once(tmp_path: Path, without: list[Results]) -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    workers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    said = []
    for worker in workers:  # both begin when both are there
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        out, err = worker.communicate(timeout=300)
        assert worker.returncode == 0, err
        assert "damaged" not in err
        said.append(out)
    assert said == ["".join(f"{measured.samples}\n" for measured in without)] * 2
    assert all(not path.name.startswith(".") for path in tmp_path.iterdir())
    third = evaluator_in(tmp_path)
    ran = tower_runs(third)
    assert results(third, POLICIES[:3]) == without[:3]
    assert ran == []


def write_often(folder: Path) -> None:
    cache = TowerCache(folder, ROOMY)
    for _ in range(100):
        assert cache.put("k", entry(size=50_000))


def test_one_entry_is_written_over_and_over_while_it_is_read(tmp_path: Path) -> None:
    forked = multiprocessing.get_context("fork")
    writers = [forked.Process(target=write_often, args=(tmp_path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        packed = TowerCache(tmp_path, ROOMY).get("k")  # a new reader compares the checksum each time
        if packed is not None:
            seen += 1
            assert bool((packed.tensors["0"] == 1).all())
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert seen > 10
    assert [path.name for path in tmp_path.iterdir()] == ["k.safetensors"]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    dead, alive = tmp_path / ".k.1.safetensors", tmp_path / ".k.2.safetensors"
    for path in (dead, alive):
        path.write_bytes(b"half")
    os.utime(dead, (time.time() - 7200,) * 2)
    assert TowerCache(tmp_path, ROOMY).put("k", entry())
    assert not dead.exists()
    assert alive.exists()


# --- damage ---


def test_every_flipped_bit_and_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "k.safetensors"
    write_packed(path, "k", entry(size=5))
    whole = path.read_bytes()
    assert unpack(read_packed(path, "k", verify=True), CPU) is not None
    head = int.from_bytes(whole[:8], "little")
    padding = range(len(whole[: 8 + head].rstrip(b" ")), 8 + head)  # says nothing: a blank may be any white space
    for place in range(len(whole)):
        for bit in (1, 16, 128):
            damaged = bytearray(whole)
            damaged[place] ^= bit
            path.write_bytes(damaged)
            if place in padding:
                continue
            with pytest.raises(DamagedError):
                read_packed(path, "k", verify=True)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedError):
            read_packed(path, "k", verify=False)
    path.write_bytes(whole)
    with pytest.raises(DamagedError, match="something else"):
        read_packed(path, "other", verify=True)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "replaced"])
def test_a_damaged_entry_is_named_once_and_made_anew(tmp_path: Path, damage: str, without: list[Results]) -> None:
    results(evaluator_in(tmp_path))
    (path,) = tmp_path.glob("video-features-*")
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    path.write_bytes({"truncated": whole[:middle], "flipped": flipped, "replaced": b"no such thing"}[damage])
    evaluator = evaluator_in(tmp_path)
    ran = tower_runs(evaluator)
    with pytest.warns(AutotcWarning) as told:
        assert results(evaluator, POLICIES[:3]) == without[:3]
    (message,) = [str(warning.message) for warning in told]
    assert str(path) in message
    assert "is damaged" in message
    assert "made anew" in message
    assert ran == ["sight"]
    assert path.read_bytes() == whole


# --- room ---


def test_the_longest_unused_go_first_and_never_what_is_in_use(tmp_path: Path) -> None:
    before = TowerCache(tmp_path, ROOMY)
    for number in range(4):
        assert before.put(f"old{number}", entry())
    size = (tmp_path / "old0.safetensors").stat().st_size
    for number, age in enumerate((400, 300, 200, 100)):
        os.utime(tmp_path / f"old{number}.safetensors", (time.time() - age,) * 2)
    cache = TowerCache(tmp_path, 4 * size + 100)
    assert cache.get("old0") is not None  # the oldest by far, until it is used
    assert cache.put("new0", entry())
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["new0", "old0", "old2", "old3"]
    assert cache.put("new1", entry())
    assert cache.put("new2", entry())
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["new0", "new1", "new2", "old0"]
    with pytest.warns(AutotcWarning, match="in use; no more is written"):
        assert not cache.put("new3", entry())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not cache.put("new4", entry())
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["new0", "new1", "new2", "old0"]
    assert cache.get("new2") is not None


def test_an_evaluation_stays_within_the_limit(tmp_path: Path, without: list[Results]) -> None:
    limit = 300_000
    with pytest.warns(AutotcWarning, match="0.0003 GB are in use"):
        assert results(evaluator_in(tmp_path, limit=limit)) == without
    used = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert 0 < used <= limit


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; where none may be mounted, files of at most so many bytes."""
    folder, libc = tmp_path / "small", ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=256k") == 0:
        try:
            yield folder
        finally:
            libc.umount2(os.fsencode(folder), 2)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, before[1]))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_ends_writing_not_the_run(small_disk: Path, without: list[Results]) -> None:
    cache = TowerCache(small_disk, ROOMY)
    assert cache.put("k", entry())
    whole = (small_disk / "k.safetensors").read_bytes()
    with pytest.warns(AutotcWarning, match="cannot be written .*; no more is written there"):
        assert not cache.put("k", entry(size=100_000))
    assert (small_disk / "k.safetensors").read_bytes() == whole
    assert [path.name for path in small_disk.iterdir()] == ["k.safetensors"]
    evaluator = evaluator_in(small_disk)
    with pytest.warns(AutotcWarning) as told:
        assert results(evaluator) == without
    assert len(told) == 1
    assert all(not path.name.startswith(".") for path in small_disk.iterdir())
    ran = tower_runs(evaluator)
    again = BuiltinEvaluator(batch_size=2)
    again.batches.pieces = evaluator.batches.pieces
    assert results(again, POLICIES[:3]) == without[:3]
    assert ran == []  # what was not written is remembered


# --- where ---


def test_the_place_is_the_options_then_the_environments_then_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_of() is None  # the tests' environment says off
    monkeypatch.setenv(VARIABLE, str(tmp_path / "a"))
    assert cache_of() == TowerCache(tmp_path / "a", 10**10, pytest.approx(time.time(), abs=60))
    assert cache_of("off") is None
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    monkeypatch.setenv(LIMIT_VARIABLE, "0.5")
    found = cache_of()
    assert found is not None
    assert (found.folder, found.limit) == (tmp_path / "c" / "autotc" / "towers", 500_000_000)
    with pytest.raises(DataError, match="no name is given"):
        cache_of("")
    for wrong in ("much", "0", "-1", "nan", "inf"):
        monkeypatch.setenv(LIMIT_VARIABLE, wrong)
        with pytest.raises(DataError, match="gigabytes above 0"):
            cache_of(tmp_path)


@pytest.mark.parametrize("command", [["eval", "none"], ["compare"], ["search"], ["worker", "s"]])
def test_a_wrong_place_is_told_in_one_line(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert main([*command, "--tower-cache", str(file / "x")]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "--tower-cache" in line
    assert "is no folder" in line


def test_commands_share_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "none", "--limit", "2", "--tower-cache", str(tmp_path), "--json"]) == 0
    first = capsys.readouterr().out
    names = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    assert names
    assert main(["eval", "none", "--limit", "2", "--tower-cache", str(tmp_path), "--json"]) == 0
    second = capsys.readouterr().out
    assert {path.name: path.stat().st_ino for path in tmp_path.iterdir()} == names
    assert main(["eval", "none", "--limit", "2", "--tower-cache", "off", "--json"]) == 0
    off = capsys.readouterr().out
    strip = [text.partition('"phases"')[0] for text in (first, second, off)]
    assert strip[0] == strip[1] == strip[2]


def test_the_evaluator_takes_a_place(tmp_path: Path) -> None:
    evaluator = autotc.evaluator(tower_cache=tmp_path)
    evaluator.run(UNCOMPRESSED, "val", limit=1)
    assert list(tmp_path.glob("image-features-*.safetensors"))
    assert autotc.evaluator(tower_cache="off").towers.cache is None
