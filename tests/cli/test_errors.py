"""How the shell tells what went wrong: one line, a document with --json, an exit code for each kind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from autotc import cli
from autotc.cli import program
from autotc.cli.output import Output
from autotc.errors import PolicyError

Set = Callable[[Callable[[object], Output]], None]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Sets what ``autotc models`` does."""

    def replaced(run: Callable[[object], Output]) -> None:
        monkeypatch.setitem(program.COMMANDS, "models", replace(program.COMMANDS["models"], run=run))

    return replaced


def raises(error: BaseException) -> Callable[[object], Output]:
    def run(args: object) -> Output:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PolicyError("x.yaml: stages.0.keep_ratio: 2 given; (0, 1] is right"), 2, "x.yaml: stages.0.keep_ratio: 2"),
        (PolicyError("a\x1b[31mb\nc" + "x" * 5000), 2, r"a\x1b[31mb c"),
        (KeyError("x"), 70, "unexpected KeyError: 'x' "),
        (RecursionError(), 70, "unexpected RecursionError"),
        (SystemExit(3), 70, "unexpected SystemExit: 3"),
        (KeyboardInterrupt("interrupted after 3 of 9 trials"), 130, "interrupted after 3 of 9 trials"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "/runs/x"), 2, "/runs/x: No space left on device"),
        (MemoryError(), 2, "out of memory"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 2, "Broken pipe"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, BaseException) else "",
)
@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_is_one_line_and_a_document(
    capsys: pytest.CaptureFixture[str], command: Set, error: BaseException, code: int, said: str, as_json: bool
) -> None:
    command(raises(error))
    assert cli.main(["models", *(["--json"] if as_json else [])]) == code
    out, err = capsys.readouterr()
    assert said in err
    assert err.count("\n") == 1
    assert err.strip("\n").isprintable()
    assert len(err) <= 301
    assert "Traceback" not in err
    if as_json:
        assert said in json.loads(out)["error"]
    else:
        assert out == ""


@pytest.mark.parametrize("arguments", [["frotn"], ["search", "--budget", "7"], ["eval"], ["eval", "a", "b"]])
def test_wrong_arguments_are_a_document_too(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert cli.main([*arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] == err.strip()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["serach"], "did you mean 'search'?"),
        (["search", "--bugdet", "0.5"], "autotc search: --bugdet: no such option; did you mean '--budget'?"),
        (["search", "--bugdet=0.5"], "--bugdet: no such option; did you mean '--budget'?"),
        (["eval", "none", "--splt", "val"], "did you mean '--split'?"),
        (["eval", "none", "--split", "vall"], "did you mean 'val'?"),
        (["export", "x.yaml", "--to", "vlm"], "did you mean 'vllm'?"),
        (["presets", "visonzip"], "did you mean 'visionzip'?"),
        (["presets", "--family", "querry"], "did you mean 'query'?"),
        (["presets", "--needs", "last_qurey_attention"], "did you mean 'last_query_attention'?"),
        (["search", "--space", "defualt"], "did you mean 'default'?"),
        (["compare", "--presets", "divprun"], "did you mean 'divprune'?"),
        (["compare", "--by", "location", "--mechanism", "fastw"], "did you mean 'fastv'?"),
        (["eval", "none", "extra"], "'extra' given, an argument too many"),
        (["front", "--zzzzzzzzzz"], "--zzzzzzzzzz: no such option; see autotc front --help"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_what_was_meant_is_named(capsys: pytest.CaptureFixture[str], arguments: list[str], hint: str) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert hint in err


@pytest.mark.parametrize("how", ["option", "environment"])
def test_where_a_fault_is_from_is_shown_when_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: Set, how: str
) -> None:
    command(raises(KeyError("x")))
    if how == "environment":
        monkeypatch.setenv("AUTOTC_DEBUG", "1")
    assert cli.main(["models", *(["--debug"] if how == "option" else [])]) == 70
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "in raises" not in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("autotc models: unexpected KeyError: 'x' (autotc/cli/program.py:")


def python(code: str, **streams: int) -> subprocess.CompletedProcess[str]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run([sys.executable, "-c", code], text=True, **streams)  # type: ignore[call-overload]


CHATTY = """
import os, subprocess, sys
from dataclasses import replace
from autotc.cli import program
from autotc.cli.output import Output

def run(args):
    os.write(1, b"from C\\n")
    subprocess.run(["echo", "from a program"])
    return Output({"name": "\\u00fc\\udcff"}, "\\u00fc\\udcff")

program.COMMANDS["models"] = replace(program.COMMANDS["models"], run=run)
sys.exit(program.main(["models", *sys.argv[1:], *%r]))
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_stdout_is_one_document_whatever_else_prints(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    done = python(CHATTY % (["--json"],))
    assert (done.returncode, json.loads(done.stdout)) == (0, {"name": "ü\udcff"})
    assert "from C" in done.stderr
    assert "from a program" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = python(CHATTY % ([],), stdout=full.fileno())
    assert done.returncode == 2
    assert done.stderr.splitlines()[2:] == ["autotc: stdout cannot be written (No space left on device)"]


def test_a_reader_that_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = python(CHATTY % ([],), stdout=writer)
    os.close(writer)
    assert done.returncode == 0
    assert "Broken" not in done.stderr
    assert "Exception" not in done.stderr
