"""What is shown while work goes on: phases, seconds that are left, and nothing twice."""

from __future__ import annotations

import io
import re

import pytest

from autotc.cli.live import LiveProgress
from autotc.report import progress
from autotc.report.progress import ProgressBar


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_phases_of_a_search_are_told_once_and_as_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveProgress() as live:
        live.on_phase("val")
        for number in (1, 2, 3):
            live.on_policy(number, 3)
            for done in (10, 20):
                live.on_samples(done, 20)
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "ranking the front on the validation split ..."
    assert [re.sub("  .*", "", line) for line in shown[1:]] == ["ranking the front on the validation split 60/60"]


def test_seconds_left_are_of_the_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with ProgressBar("eval", stream) as bar:
        now[0] = 100.0
        bar.phase("first", quiet=True)
        now[0] = 110.0
        bar(1, 3)
        bar.steps()
        now[0] = 130.0
        bar(1, 2)
    assert stream.getvalue().splitlines() == ["first 1/3  1:50 passed, 0:20 left", "eval 1/2  2:10 passed, 0:20 left"]


def test_a_terminal_shows_what_is_waited_for_and_is_left_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with ProgressBar("eval", stream) as bar:
        assert bar.width is not None
        bar.phase("loading the model", quiet=True)
        assert bar._live is not None
        bar._live.refresh()
        bar(1, 4)
        bar._live.refresh()
    text = stream.getvalue()
    assert "loading the model ... 0:00" in text
    assert "loading the model 1/4" in text
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m|\x1b\[9[0-7]m", text)  # no colours
