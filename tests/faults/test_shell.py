"""The shell given what is no file, no name, no option: one line, exit code 2, nothing written, nothing waited for."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autotc import cli
from autotc.cli import program
from autotc.cli.output import Output
from autotc.cli.parser import COMMANDS, ShellParser, UsageError
from autotc.errors import MESSAGE_LENGTH, AutotcError, DataError

GUARD = 60
"""Seconds after which a command hangs, on however busy a machine."""


@contextmanager
def guarded() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TimeoutError("the command hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(GUARD)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int = 2) -> str:
    """Run what must be refused; returns its line on stderr."""
    capsys.readouterr()
    with guarded():
        assert cli.main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("autotc")
    assert err[:-1].isprintable()
    assert len(err) <= MESSAGE_LENGTH + 1
    return err


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Paths that are no file to read and none to write."""
    folder = tmp_path / "odd"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "folder" / "x").touch()
    (folder / "loop").symlink_to("loop")
    (folder / "file").write_bytes(bytes(range(256)))
    monkeypatch.chdir(folder)
    return {
        "pipe": "pipe",
        "device": "/dev/full",
        "endless": "/dev/zero",
        "memory": "/proc/self/mem",
        "folder": "folder",
        "nul": "a\x00b",
        "letters": "x" * 5000,
        "deep": "/".join(["x" * 100] * 60),
        "loop": "loop",
        "under a file": "file/x",
    }


NOT_READ = {
    **dict.fromkeys(("pipe", "device", "endless", "memory", "folder", "nul", "letters", "deep", "loop"), ""),
    "under a file": "",
    "empty": "",
    "bytes": "file",
    "no text": "a\udcffb",
    "escapes": "\x1b[31m\nq",
}
READERS = [
    ["eval", "@"],
    ["check", "@"],
    ["show", "@"],
    ["validate", "@"],
    ["bench", "@"],
    ["export", "@", "--to", "vllm"],
    ["presets", "@"],
    ["presets", "fastv", "--model", "@"],
    ["search", "--space", "@"],
    ["search", "--latency", "@"],
    ["front", "--runs", "@"],
    ["study", "--runs", "@"],
    ["report", "--runs", "@"],
]


def snapshot(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(folder)), path.lstat().st_mode) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        *((arguments, kind) for arguments in READERS for kind in ("pipe", "endless", "nul", "letters", "empty")),
        *((["show", "@"], kind) for kind in NOT_READ),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_cannot_be_read_is_one_line(
    capsys: pytest.CaptureFixture[str], odd: dict[str, str], tmp_path: Path, arguments: list[str], kind: str
) -> None:
    path = odd.get(kind, NOT_READ[kind])
    before = snapshot(tmp_path)
    refused(capsys, [path if word == "@" else word for word in arguments])
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("kind", ["pipe", "device", "endless"])
def test_a_data_file_that_is_no_regular_file_is_one_line(
    capsys: pytest.CaptureFixture[str], odd: dict[str, str], kind: str
) -> None:
    Path("x.jsonl").symlink_to(odd[kind])
    assert "x.jsonl" in refused(capsys, ["validate", "x.jsonl"])


WRITERS = [
    ["presets", "fastv", "--keep", "0.5", "--out", "@"],
    ["init", "@"],
    ["presets", "all", "--keep", "0.5", "--out", "@"],
]


@pytest.mark.parametrize("arguments", WRITERS, ids=" ".join)
@pytest.mark.parametrize("kind", ["pipe", "device", "nul", "letters", "deep", "loop", "under a file"])
def test_what_cannot_be_written_is_one_line(
    capsys: pytest.CaptureFixture[str], odd: dict[str, str], tmp_path: Path, arguments: list[str], kind: str
) -> None:
    before, device = snapshot(tmp_path), os.lstat("/dev/full").st_mode
    refused(capsys, [odd[kind] if word == "@" else word for word in arguments])
    assert snapshot(tmp_path) == before
    assert os.lstat("/dev/full").st_mode == device


def test_a_full_disk_leaves_the_file_that_stood_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tmp_path / "p.yaml"
    good.write_text("what stood there")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    err = refused(capsys, ["presets", "fastv", "--keep", "0.5", "--out", str(good)])
    assert "No space left on device" in err
    assert good.read_text() == "what stood there"
    assert [path.name for path in tmp_path.iterdir()] == ["p.yaml"]


def test_init_leaves_nothing_half_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile = pytest.importorskip("soundfile")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile, "write", full)
    assert "No space left on device" in refused(capsys, ["init", str(tmp_path / "example")])
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_followed_when_it_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "target.yaml").write_text("old")
    (tmp_path / "link.yaml").symlink_to("target.yaml")
    assert cli.main(["presets", "fastv", "--keep", "0.5", "--out", str(tmp_path / "link.yaml")]) == 0
    assert (tmp_path / "link.yaml").is_symlink()
    assert yaml.safe_load((tmp_path / "target.yaml").read_text())["stages"][0]["keep_ratio"] == 0.5


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "..", "a\x00b", "x" * 500])
def test_a_study_to_resume_is_a_name(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    err = refused(capsys, ["search", "--resume", name, "--runs", str(tmp_path / "runs")])
    assert "--resume" in err
    assert list(tmp_path.iterdir()) == []


FLAGS = sorted({flag for command in COMMANDS for flag in ShellParser().options_of(command)} | {"--help", "-h", "--"})
VALUES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["0.5", "-1", "nan", "inf", "1e999", "300ms", "none", "a,b", ",", ":", "0.5:0.9", "9" * 5000]),
)


@given(
    command=st.sampled_from([*COMMANDS, "serach", ""]),
    words=st.lists(st.one_of(st.sampled_from(FLAGS), VALUES), max_size=6),
)
def test_any_command_line_is_parsed_or_refused_in_one_line(command: str, words: list[str]) -> None:
    try:
        args = ShellParser().parse([command, *words])
    except UsageError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) <= MESSAGE_LENGTH
        assert message.startswith("autotc")
    except SystemExit:
        assert {"-h", "--help"} & set(words)
    else:
        assert args.command == command


@given(text=st.text(max_size=400), error=st.sampled_from([DataError, AutotcError, KeyError, RuntimeError, OSError]))
def test_any_error_is_one_line_and_one_document(
    capsys: pytest.CaptureFixture[str], text: str, error: type[Exception]
) -> None:
    def run(args: object) -> Output:
        raise error(text)

    kept = COMMANDS["models"]
    program.COMMANDS["models"] = replace(kept, run=run)
    try:
        capsys.readouterr()
        code = cli.main(["models", "--json"])
    finally:
        program.COMMANDS["models"] = kept
    out, err = capsys.readouterr()
    assert code == (2 if issubclass(error, AutotcError) else 70)
    assert isinstance(json.loads(out)["error"], str)
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert len(err) <= MESSAGE_LENGTH + 1
