"""Commands that are shown can be pasted: every option that was given, quoted."""

from __future__ import annotations

import shlex

import pytest

import autotc
from autotc.cli.again import EVALUATOR, RESUMING, options_again
from autotc.cli.options import STORAGE_VARIABLE
from autotc.cli.parser import ShellParser
from autotc.cli.search import run
from autotc.search.errors import SearchError, SearchStopped
from autotc.search.home import VARIABLE


def test_the_variable_of_the_storage_is_the_searchs() -> None:
    assert STORAGE_VARIABLE == VARIABLE


GIVEN = {
    "--model": "my models/qwen 2.5",
    "--data": "it's mine.jsonl",
    "--metric": "contains",
    "--dtype": "bfloat16",
    "--revision": "a;b",
    "--limit": "20",
    "--split-seed": "3",
    "--batch-size": "4",
    "--tracking-uri": "http://localhost:5000",
    "--runs": "my runs",
    "--out-dir": "$HOME",
    "--latency": "l.json",
}


def test_a_search_is_resumed_with_all_that_was_given() -> None:
    words = [word for pair in GIVEN.items() for word in pair]
    args = ShellParser().parse(["search", *words, "--trust-remote-code", "--space", "s.yaml", "--trials", "9"])
    again = shlex.split(options_again(args, RESUMING))
    assert dict(zip(*[iter(word for word in again if word != "--trust-remote-code")] * 2, strict=True)) == GIVEN
    assert "--trust-remote-code" in again
    resumed = ShellParser().parse(["search", *again])
    assert all(getattr(resumed, key) == getattr(args, key) for key in RESUMING)


def test_what_is_as_usual_is_left_out() -> None:
    args = ShellParser().parse(["search", "--runs", "runs", "--out-dir", "policies", "--split-seed", "0"])
    assert options_again(args, RESUMING) == ""
    args = ShellParser().parse(["search", "--tasks", "mme,ocrbench", "--task-folder", "a b", "--limit", "3"])
    assert options_again(args, EVALUATOR) == " --task-folder 'a b' --tasks mme,ocrbench"


def test_a_search_that_was_stopped_says_how_to_go_on_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise SearchStopped("no space left", "study-1")

    monkeypatch.setattr(autotc, "search", stop)
    args = ShellParser().parse(["search", "--limit", "20", "--runs", "my runs"])
    with pytest.raises(SearchError) as caught:
        run(args)
    command = "autotc search --resume study-1 --limit 20 --runs 'my runs'"
    assert str(caught.value) == f"no space left; what is done is kept, go on: {command}"


@pytest.mark.parametrize("uri", ["http://me:secret@host:5000", "http://[me:secret@host"])
def test_a_password_is_not_shown(uri: str) -> None:
    args = ShellParser().parse(["search", "--tracking-uri", uri])
    assert options_again(args, RESUMING) == ' --tracking-uri "$MLFLOW_TRACKING_URI"'
