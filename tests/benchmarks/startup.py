"""How long the light commands take to start, and whether they load what is heavy.

    python tests/benchmarks/startup.py [--runs 5] [--importtime validate]

Each command runs in a process of its own. The time is the processor's, user and system, best of the runs, so that other
work on the machine counts little; ``--importtime`` prints the 15 imports of a command that take longest instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "optuna", "mlflow", "pandas", "numpy", "pydantic")
LIMIT = 1.5
"""Seconds that a light command may take on a free core."""
HELP_LIMIT = 0.1
"""Seconds that ``--help`` may take."""
PROBE = """
import json, os, sys
from autotc.cli.program import main
code = main(sys.argv[2:])
times = os.times()
with open(sys.argv[1], "w") as file:
    json.dump({"seconds": times.user + times.system, "code": code, "modules": sorted(sys.modules)}, file)
"""


def commands(folder: Path) -> dict[str, list[str]]:
    """The light commands, and the files they read made in a folder."""
    from PIL import Image

    policy = ROOT / "policies" / "qwen2.5-vl-7b" / "fastv-0.5.yaml"
    space = ROOT / "search_spaces" / "default.yaml"
    for i in range(40):
        Image.new("RGB", (16, 16), (i, i, i)).save(folder / f"{i}.png")
    lines = [{"id": str(i), "images": [f"{i}.png"], "prompt": "?", "answer": "7"} for i in range(40)]
    (folder / "data.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    _make_study(folder / "runs", space.read_text(encoding="utf-8"))
    return {
        "--help": ["--help"],
        "validate policy": ["validate", str(policy)],
        "validate space": ["validate", str(space)],
        "validate data": ["validate", str(folder / "data.jsonl")],
        "presets": ["presets"],
        "presets NAME": ["presets", "fastv"],
        "models": ["models"],
        "show": ["show", str(policy)],
        "study": ["study", "--runs", str(folder / "runs")],
    }


def _make_study(runs: Path, space: str) -> None:
    """A study without trials, as a search stores it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    runs.mkdir()
    study = optuna.create_study(
        study_name="x", storage=f"sqlite:///{runs / 'studies.db'}", directions=["maximize", "minimize"]
    )
    settings = {"budget": 0.5, "space": space, "policy_name": "x", "base_name": "x", "samples_sha256": "0"}
    study.set_user_attr("settings", settings)


def started(arguments: list[str]) -> dict[str, object]:
    """Run a command in a process of its own: processor seconds, exit code and the modules it loaded."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [sys.executable, "-c", PROBE, str(out), *arguments], check=True, env=environment, capture_output=True
        )
        found: dict[str, object] = json.loads(out.read_text())
        return found


def slowest_imports(arguments: list[str], count: int = 15) -> list[tuple[float, str]]:
    """(milliseconds in all, module) of a command's slowest imports, as ``python -X importtime`` has them."""
    code = "import sys; from autotc.cli.program import main; main(sys.argv[1:])"
    command = [sys.executable, "-X", "importtime", "-c", code, *arguments]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    rows = [line.removeprefix("import time:").split("|") for line in report.splitlines() if "import time:" in line]
    timed = [(int(row[1]) / 1000, row[2].strip()) for row in rows if row[1].strip().isdigit()]
    return sorted(timed, reverse=True)[:count]


def main() -> None:
    """Print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--importtime", metavar="COMMAND")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        light = commands(Path(folder))
        if args.importtime is not None:
            for milliseconds, module in slowest_imports(light[args.importtime]):
                print(f"{milliseconds:8.1f} ms  {module}")
            return
        print(f"{'command':18s} {'seconds':>8s}  {'limit':>5s}  loads")
        for name, arguments in light.items():
            runs = [started(arguments) for _ in range(args.runs)]
            seconds = min(float(str(run["seconds"])) for run in runs)
            modules = runs[0]["modules"]
            assert isinstance(modules, list)
            loads = ", ".join(package for package in HEAVY if package in modules) or "none of the heavy packages"
            limit = HELP_LIMIT if name == "--help" else LIMIT
            print(f"{name:18s} {seconds:8.2f}  {limit:5.1f}  {loads}")


if __name__ == "__main__":
    main()
