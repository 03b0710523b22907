"""The GitHub action, the GitLab job and the pre-commit hook, run as the forges' runners do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml

ROOT = Path(__file__).parents[2]
POLICY = "policies/tiny-omni-0.4.yaml"
BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="runners have bash")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "autotc").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m autotc "$@"\n')
    (tmp_path / "bin" / "autotc").chmod(0o755)
    return tmp_path


def shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script as runners do: fail at the first error, and in pipes."""
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [str(BASH), "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )


def steps() -> dict[str, dict[str, Any]]:
    action = yaml.safe_load((ROOT / ".github/actions/check/action.yml").read_text())
    return {step["name"]: step for step in action["runs"]["steps"]}


def check_step(folder: Path, arguments: str, accept: str = "false") -> str:
    """Run the action's step that checks; its status."""
    files = {name: str(folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    done = shell(steps()["Check"]["run"], folder, POLICY=POLICY, ARGUMENTS=arguments, ACCEPT=accept, **files)
    assert done.returncode == 0, done.stderr
    return Path(files["GITHUB_OUTPUT"]).read_text().splitlines()[-1]


def test_the_action_checks_and_writes_its_files(folder: Path) -> None:
    assert check_step(folder, "--limit 5") == "status=0"
    written = {path.name for path in (folder / "autotc-check").iterdir()}
    assert written == {"junit.xml", "autotc.sarif", "comment.md"}
    assert POLICY in (folder / "GITHUB_STEP_SUMMARY").read_text()
    assert json.loads((folder / "autotc-check/autotc.sarif").read_text())["version"] == "2.1.0"
    assert shell(steps()["Verdict"]["run"], folder, STATUS="1").returncode == 1


def test_the_action_runs_nothing_that_arguments_hold(folder: Path) -> None:
    assert check_step(folder, "--limit '$(touch broken)'; touch broken") == "status=2"
    assert not (folder / "broken").exists()


def test_the_action_updates_one_comment(folder: Path) -> None:
    (folder / "autotc-check").mkdir()
    (folder / "autotc-check/comment.md").write_text("<!-- autotc-check -->\n")
    # Stands in for GitHub's client: it lists what the test says, and notes how it was called.
    (folder / "bin/gh").write_text('#!/bin/sh\necho "$@" >> calls\ncase "$*" in *--jq*) cat ids ;; esac\n')
    (folder / "bin/gh").chmod(0o755)
    variables = {"GITHUB_REPOSITORY": "you/yours", "NUMBER": "7", "POLICY": POLICY, "GH_TOKEN": "x"}
    for ids, called in (
        ("", "api repos/you/yours/issues/7/comments -F"),
        ("31\n", "--method PATCH repos/you/yours/issues/comments/31"),
    ):
        (folder / "ids").write_text(ids)
        (folder / "calls").write_text("")
        assert shell(steps()["Comment"]["run"], folder, **variables).returncode == 0
        assert called in (folder / "calls").read_text()


class Notes(ThreadingHTTPServer):
    """The part of GitLab's interface that the job uses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.notes: dict[int, str] = {3: "looks good"}


class Handler(BaseHTTPRequestHandler):
    server: Notes

    def do_GET(self) -> None:
        self._answer([{"id": number, "body": body} for number, body in self.server.notes.items()])

    def do_POST(self) -> None:
        self._write(max(self.server.notes) + 1)

    def do_PUT(self) -> None:
        self._write(int(self.path.rpartition("/")[2]))

    def _write(self, number: int) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.notes[number] = parse_qs(form)["body"][0]
        self._answer({"id": number})

    def _answer(self, value: object) -> None:
        assert self.headers["PRIVATE-TOKEN"] == "secret"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def gitlab() -> Iterator[Notes]:
    server = Notes()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the job asks GitLab with curl")
def test_the_gitlab_job_keeps_one_note(folder: Path, gitlab: Notes) -> None:
    job = yaml.safe_load((ROOT / ".gitlab/autotc-check.yml").read_text())[".autotc-check"]
    variables = {
        **job["variables"],
        "AUTOTC_POLICY": POLICY,
        "AUTOTC_ARGUMENTS": "--limit 5",
        "AUTOTC_TOKEN": "secret",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_PROJECT_ID": "1",
        "CI_API_V4_URL": f"http://127.0.0.1:{gitlab.server_port}/api/v4",
    }
    for arguments in ("--limit 5", "--limit 6"):
        done = shell("\n".join(job["script"]), folder, **{**variables, "AUTOTC_ARGUMENTS": arguments})
        assert done.returncode == 0, done.stderr
    assert set(gitlab.notes) == {3, 4}
    assert gitlab.notes[4].startswith("<!-- autotc-check -->")
    assert POLICY in gitlab.notes[4]
    assert (folder / job["artifacts"]["reports"]["junit"]).exists()


def test_the_hook_validates(folder: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert shell(f"{hook['entry']} {POLICY}", folder).returncode == 0
    (folder / "policies/broken.yaml").write_text("version: 9\n")
    broken = shell(f"{hook['entry']} {POLICY} policies/broken.yaml", folder)
    assert broken.returncode != 0
    assert "broken.yaml" in broken.stdout + broken.stderr
