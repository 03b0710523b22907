"""The tables of README.md in this folder, from the files in `results/`.

    python tests/benchmarks/tables.py            # writes them into README.md
    python tests/benchmarks/tables.py --check    # exit 1 where README.md shows others

Each stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE / "README.md"
RESULTS = HERE / "results"
Row = dict[str, str]


def read_json(name: str) -> Any:
    """A result file."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def read_csv(name: str) -> list[Row]:
    """The rows of a result file."""
    with (RESULTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def points(value: float, low: float, high: float) -> str:
    """A difference of accuracies in points, with its interval."""
    return f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


QUESTIONS = {
    "image.detail": "the digit of a colour",
    "image.count": "how many digits",
    "image.order": "a digit by its place in reading order",
    "video.order": "a digit by when it appears",
    "video.motion": "where a digit moves",
    "video.list": "all digits in order of appearance",
    "video.detail": "the digit of a colour",
    "audio.position": "the word at a position",
    "audio.count": "how many words",
    "audio.loud": "the loudest word",
    "audio.list": "all words",
    "image+audio.both": "the digit of a colour, then the digit that is said",
}


def tasks() -> str:
    """The uncompressed embedded model on each task: `autotc eval none --json`."""
    measured = read_json("embedded.json")
    rows = []
    for group, (mean, low, high) in measured["accuracy"].items():
        tokens = sum(measured["tokens"][modality] for modality in group.split("+"))
        head = f"**{group}** ({tokens:.0f} tokens, {measured['samples'][group]} samples)"
        rows.append([head, "", f"**{mean:.3f}** [{low:.3f}, {high:.3f}]", ""])
        for task in (task for task in measured["tasks"] if task.startswith(f"{group}.")):
            accuracy, chance = measured["tasks"][task][0], measured["chance"][task]
            rows.append([task.removeprefix(f"{group}."), QUESTIONS[task], f"{accuracy:.3f}", f"{chance:.3f}"])
    return markdown(["task", "asks for", "accuracy", "chance"], rows)


def front() -> str:
    """The front of the default search, on the test split: `autotc search --json`."""
    rows = []
    for policy in read_json("front.json")["front"]:
        shown = f"`{policy['label']}`"
        by_group = [f"{mean:.3f} [{low:.3f}, {high:.3f}]" for mean, low, high in policy["accuracy_by"].values()]
        rows.append([shown, f"{policy['flops_ratio']:.3f}", *by_group, points(*policy["difference"]["overall"])])
    return markdown(
        ["policy", "FLOPs", "image", "video", "audio", "image+audio", "points against uncompressed, paired"], rows
    )


def compared(modality: str) -> str:
    """One modality of `autotc compare --presets all --limit 300`."""
    columns = [("tokens", "0.5"), ("tokens", "0.25"), ("tokens", "0.1"), ("cost", "0.75"), ("cost", "0.5")]
    cells: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for row in read_csv("compare.csv"):
        if row["modality"] == modality:
            cells.setdefault((row["preset"], row["place"]), {})[row["match"], row["target"]] = _cell(row)
    rows = [
        [f"`{preset}`", place, *(of_preset.get(column, "") for column in columns)]
        for (preset, place), of_preset in cells.items()
    ]
    titles = [f"{'FLOPs' if match == 'cost' else match} {target}" for match, target in columns]
    return markdown(["preset", "at", *titles], rows)


def _cell(row: Row) -> str:
    """Points lost; in italics where not better than `random`, with ~ where the target was missed."""
    if not row["against_uncompressed"]:
        return ""
    lost = f"{100 * float(row['against_uncompressed']):+.1f}" + ("" if row["met"] == "True" else "~")
    beaten = row["preset"] != "random" and not float(row["against_random_low"] or 1) > 0
    return f"*{lost}*" if beaten else lost


def locations() -> str:
    """FLOPs ratio and points lost of one mechanism at every place: `autotc compare --by location --limit 60`."""
    cells: dict[str, dict[tuple[str, str], str]] = {}
    for row in read_csv("locations.csv"):
        shown = f"{float(row['flops_ratio']):.2f}: {100 * float(row['against_uncompressed']):+.1f}"
        cells.setdefault(row["place"], {})[row["modality"], row["target"]] = shown
    columns = [(modality, target) for modality in ("image", "video", "audio") for target in ("0.2", "0.5")]
    rows = [[place, *(of_place[column] for column in columns)] for place, of_place in cells.items()]
    return markdown(["place", *(" ".join(column) for column in columns)], rows)


def replayed(table: str) -> str:
    """Samplers replayed on a table of known results: `python tests/benchmarks/search.py replay`."""
    samplers = read_json("search.json")[table]["samplers"]
    budgets = ["0.7", "0.5", "0.35"] if table == "table" else ["0.7"]
    rows = []
    for name, sampler in samplers.items():
        hypervolumes = [f"{sampler['hypervolume'][share]:.3f}" for share in ("0.01", "0.025", "0.05", "0.1")]
        end = f"{sampler['end']:.4f} after {sampler['forwards']:,.0f}"
        short = " / ".join(_short(sampler["regret"][budget]) for budget in budgets)
        rows.append([f"`{name}`", *hypervolumes, end, "" if name == "parts" else f"{sampler['ratio']:.1f}", short])
    title = f"points short at {' / '.join(budgets)}, after 5%"
    return markdown(
        ["sampler", "1%", "2.5%", "5%", "10%", "ends at", "times `parts`' forwards to get there", title], rows
    )


def _short(regret: float | None) -> str:
    """Points below the best known; a regret of the whole accuracy says that no policy that cheap was found."""
    return "none" if regret is None or regret > 90 else f"{regret:g}"


def live() -> str:
    """Samplers on the model itself: `python tests/benchmarks/search.py live`."""
    rows = []
    for budget, name in (("0.5", "search-live.json"), ("0.7", "search-live-0.7.json")):
        result = read_json(name)
        for sampler, median in result["medians"].items():
            volumes = [run["hypervolume"] for run in result["runs"] if run["sampler"] == sampler]
            rows.append(
                [
                    budget,
                    f"`{sampler}`",
                    f"{median['hypervolume']:.3f} ({min(volumes):.3f} to {max(volumes):.3f})",
                    f"{median['best']:.3f}",
                    f"{median['forwards']:,.0f}",
                    f"{median['parts_forwards_to_its_end']:,.0f}",
                ]
            )
    return markdown(
        ["budget", "sampler", "hypervolume", "best accuracy", "forwards", "`parts` had as much after forwards"], rows
    )


def workers() -> str:
    """What many workers gain and lose, and what the storage serves."""
    found = read_json("workers.json")
    rates, front = found["throughput"], found["front"]["ratio of medians"]
    kills, served, proposals = found["kills"], found["storage"], found["proposals"]["of the last 100 proposals"]
    times = "; ".join(f"{key}: {row['median, s']} s, longest {row['longest, s']} s" for key, row in proposals.items())
    rows = [
        [
            "`throughput`",
            f"{rates['workers']} workers run {rates['ratio']} times the evaluations of one, in the same time",
        ],
        ["`front`", "; ".join(f"{ratio:.4f} of one worker's after {trials} trials" for trials, ratio in front.items())],
        [
            "`kills`",
            f"{kills['kills']}: {kills['finished trials lost']} finished trials lost, {kills['run twice']} run twice;"
            f" in {kills['equal fronts']} of {kills['studies']} studies the front of the same policies undisturbed",
        ],
        [
            "`storage`",
            f"PostgreSQL, {served['workers']} simulated workers: {served['trials a second']} trials a second",
        ],
        ["`proposals`", times],
        ["`large`", _large(found["large"])],
    ]
    return markdown(["part", "found"], rows)


def _large(found: dict[str, Any]) -> str:
    """A study of many trials: seconds of the processor (of the clock), and memory, of each action."""
    said = [
        f"{action} {row['of the processor, s']} s ({row['s']} s), {row['MiB']:,} MiB"
        for action, row in found.items()
        if isinstance(row, dict)
    ]
    imports = max(row["of it imports, MiB"] for row in found.values() if isinstance(row, dict))
    return (
        f"{found['trials that ran']:,} trials that ran, of {found['trials stored']:,}: {'; '.join(said)};"
        f" {imports:,} MiB are the imports"
    )


def against_presets() -> str:
    """What the search chooses at the cost of each preset: `python tests/benchmarks/presets.py STUDY`."""
    rows = [
        [
            row["budget"],
            str(row["presets"]),
            ", ".join(f"`{name}` {points(*difference)}" for name, difference in row["touching_zero"].items())
            or row["note"],
            ", ".join(f"`{name}` {points(*difference)}" for name, difference in row["nearest_other"].items()),
        ]
        for row in read_json("search-presets.json")["rows"]
    ]
    return markdown(
        ["budget", "controls and presets", "nearest, whose interval touches zero", "nearest of the others"], rows
    )


def prefill() -> str:
    """How much of a predicted gain is real: `python tests/benchmarks/prefill.py`."""
    (model,) = read_json("prefill-cpu.json")["models"].values()
    rows = [
        [
            f"`{row['policy']}`",
            f"{row['speedup']:.2f} [{row['speedup_interval'][0]:.2f}, {row['speedup_interval'][1]:.2f}]",
            f"{row['predicted_speedup']:.2f}",
            f"{row['realised']:.2f}",
            f"{row['scoring_share']:.1%}",
        ]
        for row in model["rows"]
    ]
    return markdown(["policy", "speed-up", "predicted", "realised", "scoring, of prefill"], rows)


def engines() -> str:
    """How often an engine's own code keeps what the policy keeps: `engines.py` and `openvino.py`."""
    rows = [
        [f"`{name}`", "vLLM's code", str(row["videos"]), str(row["same_count"]), str(row["same_tokens"])]
        for name, row in read_json("engines.json").items()
    ]
    counts = read_json("openvino.json")["counts"]
    same = sum(row["kept"] == row["policy"] for row in counts)
    rows.append(["`cdpruner`", "OpenVINO GenAI", str(len(counts)), str(same), ""])
    return markdown(["mechanism", "engine", "items", "as many kept", "the same ones kept"], rows)


def conflicts(section: str) -> str:
    """A table of `results/conflicts.md`, which `python tests/benchmarks/conflicts.py report` writes."""
    text = (RESULTS / "conflicts.md").read_text(encoding="utf-8").split(section, 1)[1]
    found = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert found, section
    return found[0].strip()


def loops() -> str:
    """Rules that add one token after another: `python -m tests.benchmarks.accelerator`."""
    rows = [
        [
            row["rule"],
            f"{row['n']:,}",
            f"{row['m']:,}",
            f"{row['launched_ms']:.2f}",
            f"{row['loop_ms']:.0f}",
            f"{row['loop_ms'] / row['launched_ms']:.1f}",
        ]
        for row in read_json("accelerator.json")["loops"]
    ]
    return markdown(["rule", "N", "M", "one launch, ms", "loop of operators, ms", "ratio"], rows)


def launches() -> str:
    """What every preset adds to a prefill on an accelerator: `python -m tests.benchmarks.accelerator`."""
    measured = read_json("accelerator.json")["presets"]["rows"]
    by_cost = sorted(measured.items(), key=lambda item: item[1]["scoring_ms"])
    rows = [
        [f"`{name}`", row["modality"], f"{row['scoring_ms']:.1f}", f"{row['launches']:,}", f"{row['waits']:,}"]
        for name, row in by_cost
    ]
    return markdown(["preset", "on", "scores and selection, ms", "launches added", "waits added"], rows)


def serving() -> str:
    """A policy in vLLM: `python -m tests.benchmarks.serving`."""
    rows = []
    for row in read_json("serving-cpu.json")["policies"]["divprune at 0.25"]["rows"]:
        low, high = row["speedup_interval"]
        rows.append(
            [
                f"{row['concurrency']}",
                f"{row['baseline_requests_per_second']:.2f}",
                f"{row['requests_per_second']:.2f}",
                f"{row['speedup']:.2f} [{low:.2f}, {high:.2f}]",
                f"{row['baseline_first_token_ms']:.0f}",
                f"{row['first_token_ms']:.0f}",
                f"{row['baseline_output_token_ms']:.0f}",
                f"{row['output_token_ms']:.0f}",
            ]
        )
    head = ["at once", "requests a second, bare", "policy", "times", "first token ms, bare", "policy"]
    return markdown([*head, "ms a token, bare", "policy"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "tasks": tasks,
    "front": front,
    "compare image": lambda: compared("image"),
    "compare video": lambda: compared("video"),
    "compare audio": lambda: compared("audio"),
    "locations": locations,
    "search table": lambda: replayed("table"),
    "search decoder": lambda: replayed("decoder"),
    "search live": live,
    "search presets": against_presets,
    "workers": workers,
    "prefill": prefill,
    "accelerator loops": loops,
    "accelerator presets": launches,
    "serving": serving,
    "engines": engines,
    "conflicts counts": lambda: conflicts("# Which stacks conflict"),
    "conflicts prediction": lambda: conflicts("## Test on half 2"),
    "conflicts claims": lambda: conflicts("## The survey's claims"),
}


def renewed(text: str) -> str:
    """The README with every table made anew."""
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"tables.py: {README} has no table '{name}'")
        table = make()
        text = pattern.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", text, count=1)
    return text


def main() -> int:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description="Tables of tests/benchmarks/README.md, from the result files.")
    parser.add_argument("--check", action="store_true", help="exit 1 where README.md shows other tables")
    args = parser.parse_args()
    text = README.read_text(encoding="utf-8")
    fresh = renewed(text)
    if args.check:
        return int(fresh != text)
    README.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
