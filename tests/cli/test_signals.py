"""A search that is asked to end: by a cloud, which sends SIGTERM, and by a person who presses Ctrl-C twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autotc.search.home import Home
from autotc.search.leases import DIED, GIVEN_BACK, LOST
from autotc.search.storage import load_study

STUDY = "tiny-omni-b0.4-s0"


def searching(folder: Path) -> tuple[subprocess.Popen[str], list[dict[str, object]]]:
    """A search that has run its first trials, and what it has logged of them."""
    words = [sys.executable, "-m", "autotc", "search", "--trials", "300", "--limit", "20", "--log-json"]
    process = subprocess.Popen(
        words,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A run of the tests in the background is started with Ctrl-C ignored, and so is what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    told: list[dict[str, object]] = []
    while sum(event["event"] == "end" for event in told) < 3:
        line = process.stderr.readline()
        assert line, told
        told.append(json.loads(line))
    return process, told


@pytest.mark.parametrize("times", [1, 2], ids=["SIGTERM", "SIGINT twice"])
def test_a_search_that_is_asked_to_end_keeps_what_is_done(tmp_path: Path, times: int) -> None:
    process, told = searching(tmp_path)
    for _ in range(times):
        process.send_signal(signal.SIGTERM if times == 1 else signal.SIGINT)
        time.sleep(0.05)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in out + err
    if times == 1:
        assert process.returncode == 0
        assert f"go on: autotc search --resume {STUDY} --limit 20" in out
    else:
        assert process.returncode in (130, -signal.SIGINT)
    logged = {event["trial"] for event in told if event["event"] == "end"}
    assert all({"time", "study", "worker"} <= set(event) for event in told if event["event"] in ("begin", "end"))
    trials = load_study(STUDY, Home.of(tmp_path / "runs")).stored.trials
    assert logged <= {trial.number for trial in trials if "record" in trial.user_attrs}
    unfinished = [trial for trial in trials if "record" not in trial.user_attrs]
    assert len(unfinished) <= 1
    assert all(trial.user_attrs.get(LOST, DIED) in (GIVEN_BACK, DIED) for trial in unfinished)
