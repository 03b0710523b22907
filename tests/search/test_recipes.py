"""The recipes for clusters in the README of the search: their syntax, and the commands in them."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import yaml

from autotc.cli.parser import ShellParser

TEXT = (Path(__file__).parents[2] / "autotc" / "search" / "README.md").read_text(encoding="utf-8")


def fenced(kind: str) -> str:
    found = re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def test_the_script_for_slurm() -> None:
    script = fenced("bash")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert "#SBATCH --array=" in script
    assert "--signal=TERM@" in script  # it is told before it is ended, and gives its trial back
    command = script.splitlines()[-1].replace("exec srun ", "")
    assert ShellParser().parse(shlex.split(command)[1:]).command == "worker"


def test_the_manifest_for_kubernetes() -> None:
    job = yaml.safe_load(fenced("yml"))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] in ("OnFailure", "Never")
    (container,) = pod["containers"]
    assert container["command"][0] == "autotc"
    assert ShellParser().parse(container["command"][1:]).command == "worker"
    (variable,) = container["env"]
    assert variable["name"] == "AUTOTC_STORAGE"
    assert "secretKeyRef" in variable["valueFrom"]
