"""Text that commands print: tables on stdout, progress with an ETA on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.live import Live

PLAIN_EVERY = 10.0
"""Seconds between two lines of progress where stderr is no terminal."""


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns aligned by blanks: numbers to the right, texts to the left."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(headers), *cells]) for i in range(len(headers))]
    right = [bool(rows) and all(isinstance(row[i], int | float) or _numeric(str(row[i])) for row in rows)
             for i in range(len(headers))]  # fmt: skip
    lines = []
    for line in [list(headers), ["-" * width for width in widths], *cells]:
        parts = [text.rjust(w) if r else text.ljust(w) for text, w, r in zip(line, widths, right, strict=True)]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def _numeric(text: str) -> bool:
    return bool(text) and text[0] in "-+.0123456789" and all(c in "-+.,%x0123456789e [](){}" for c in text)


def interval(value: Sequence[float]) -> str:
    """``0.912 [0.889, 0.932]``."""
    mean, low, high = value
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def front_table(points: Sequence[Mapping[str, Any]]) -> str:
    """The front: one line per policy with accuracy per modality, FLOPs ratio and tokens kept.

    Args:
        points: the ``front`` of a search's JSON; ``accuracy`` may hold intervals, ``tokens`` may be missing.
    """
    if not points:
        return "(no policy yet)"
    groups = list(dict.fromkeys(group for point in points for group in point["accuracy"]))
    headers = ["FLOPs", *groups, "tokens", "trial", "policy"]
    rows = []
    for point in points:
        scores = [point["accuracy"].get(group) for group in groups]
        shown = ["-" if s is None else interval(s) if isinstance(s, Sequence) else f"{s:.3f}" for s in scores]
        tokens = " ".join(f"{name}:{count:.0f}" for name, count in (point.get("tokens") or {}).items()) or "-"
        label = point.get("label") or point.get("policy") or "none"
        rows.append([f"{point['flops_ratio']:.3f}", *shown, tokens, point.get("trial", "-"), label])
    return table(headers, rows)


def bench_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Times and memory under a policy beside the uncompressed model's.

    Args:
        rows: the ``rows`` of a bench's JSON.
    """
    sides = ("policy", "uncompressed")
    lines = []
    for row in rows:
        for side, prefix in zip(sides, ("", "baseline_"), strict=True):
            lines.append(
                [
                    row["case"], row["batch"], side, f"{row[prefix + 'prefill_ms']:.1f}",
                    f"{row[prefix + 'first_token_ms']:.1f}", f"{row[prefix + 'output_token_ms']:.2f}",
                    _mebibytes(row[prefix + "peak_bytes"]), _mebibytes(row[prefix + "kv_bytes"]),
                    f"{row[prefix + 'flops'] / 1e9:.2f}", _runs(row[prefix + "layer_tokens"]),
                ]
            )  # fmt: skip
    headers = [
        "request", "batch", "", "prefill ms", "first token ms", "ms a token", "peak MiB", "KV MiB", "GFLOPs",
        "tokens by layer",
    ]  # fmt: skip
    gains = [
        [
            row["case"], row["batch"], f"{row['speedup']:.2f}",
            "[{:.2f}, {:.2f}]".format(*row["speedup_interval"]), f"{row['predicted_speedup']:.2f}",
            "-" if row["realised"] is None else f"{row['realised']:.2f}", f"{row['scoring_ms']:.2f}",
            f"{100 * row['scoring_share']:.1f}%",
        ]
        for row in rows
    ]  # fmt: skip
    head = ["request", "batch", "speed-up", "95%", "predicted", "realised", "scoring ms", "of prefill"]
    return f"{table(headers, lines)}\n\n{table(head, gains)}"


def _mebibytes(count: float) -> str:
    return f"{count / 2**20:.2f}"


def _runs(lengths: Sequence[int]) -> str:
    """Tokens of successive layers, equal ones joined: ``96 x 2, 24 x 4``."""
    out: list[list[int]] = []
    for length in lengths:
        if out and out[-1][0] == length:
            out[-1][1] += 1
        else:
            out.append([length, 1])
    return ", ".join(f"{length} x {count}" for length, count in out)


def latency_table(data: Mapping[str, Any]) -> str:
    """What a calibration found: predictions of policies that the fit did not see, and how far off they are."""
    rows = [
        [
            row["case"], f"{row['measured']:.2f}", f"{row['predicted']:.2f}", f"{100 * row['error']:+.1f}%",
            row["policy"],
        ]
        for row in data["held_out"]
    ]  # fmt: skip
    device = data["device"]
    summary = (
        f"prefill on {device['name']}, {device['threads']} threads, {device['dtype']}: predictions of policies that the"
        f" fit did not see are off by {100 * data['median_error']:.1f}% in the median, {100 * data['worst_error']:.1f}%"
        " at most"
    )
    return f"{table(['request', 'measured ms', 'predicted ms', 'error', 'policy'], rows)}\n\n{summary}"


def _optimism(front: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the exported policy loses between the split it was chosen on and the test split."""
    chosen = next(row for row in front if row["chosen"])
    if chosen.get("accuracy_search") is None:
        return []
    return [f"exported policy: {chosen['accuracy_search']:.3f} on search, {chosen['accuracy']:.3f} on test"]


def _audit(audited: Mapping[str, int]) -> list[str]:
    """How many refusals of predicted conflicts were held against a run, and were right."""
    if not audited:
        return []
    return [f"predicted conflicts run all the same: {audited['run']}, of which {audited['right']} were right to refuse"]


def search_report(data: Mapping[str, Any], *, options: str, runs: object) -> str:
    """What a search ends with: front, floors, files, where MLflow's store is, and what to type next.

    Args:
        data: the search's JSON.
        options: of the data and the model, as given, for the commands to type.
        runs: folder of the studies.
    """
    points = [{**row, "accuracy": row["accuracy_by"]} for row in data["front"]]
    marked = [
        {**row, "policy": row["policy"] + ("  <- exported" if row["chosen"] else ""), "label": None} for row in points
    ]
    chosen = next(row for row in data["front"] if row["chosen"])
    refused = ", ".join(f"{rule} {count}" for rule, count in data["refused"].items()) or "none"
    locations = list(dict.fromkeys(key.split("/")[1] for key in data["floors"]))
    modalities = list(dict.fromkeys(key.split("/")[0] for key in data["floors"]))
    floors = [
        [
            name,
            *(f"{data['floors'][f'{name}/{at}']:.3f}" if f"{name}/{at}" in data["floors"] else "-" for at in locations),
        ]
        for name in modalities
    ]
    lines = [
        f"front of {data['study']}, measured once on the test split (accuracy with 95% intervals, tokens an item)",
        "",
        front_table(marked),
        "",
        "uncompressed: " + ", ".join(f"{name} {interval(value)}" for name, value in data["uncompressed"].items()),
    ]
    if "overall" in chosen["difference"]:
        mean, low, high = chosen["difference"]["overall"]
        lines.append(f"exported policy against uncompressed, paired: {mean:+.3f} [{low:+.3f}, {high:+.3f}] overall")
    lines += [
        f"trials: {data['trials']} feasible on all samples, {data['raced']} given up on part of them, {data['failed']}"
        f" failed; refused before they ran: {refused}",
        f"samples run: {data['forwards']:,}; spared by races and shared parts: {data['saved']:,}"
        + (f"; run to predict conflicts: {data['watched']:,}" if data["watched"] else ""),
        *_optimism(data["front"]),
        *_audit(data["audited"]),
        f"hypervolume {data['hypervolume']:.4f}, {duration(data['seconds'])} in all",
        "",
        "floors: the lowest FLOPs ratio that each location can reach",
        "",
        table(["modality", *locations], floors),
        "",
        f"policy   {data['policy']}",
    ]
    lines += [f"figure   {path}" for path in data["figures"]]
    if data["mlflow_uri"] is not None:
        uri = data["mlflow_uri"]
        opened = (
            f"mlflow ui --backend-store-uri {uri}" if "://" in uri and not uri.startswith("http") else "in a browser"
        )
        lines.append(f"MLflow   {uri}   (open: {opened})")
    where = "" if str(runs) == "runs" else f" --runs {runs}"
    lines += [
        "",
        "next:",
        f"  autotc eval {data['policy']}{options}",
        f"  autotc check {data['policy']}{options}",
        f"  autotc front {data['study']}{where}",
    ]
    return "\n".join(lines)


def eval_table(data: Mapping[str, Any]) -> str:
    """Accuracy by modality and task of an evaluation's JSON."""
    rows: list[list[object]] = [
        [name, interval(value), "-", data["samples"].get(name, "-")] for name, value in data["accuracy"].items()
    ]
    for name, value in data["tasks"].items():
        chance = data["chance"].get(name)
        rows.append([f"  {name}", interval(value), "-" if chance is None else f"{chance:.3f}", "-"])
    tokens = ", ".join(f"{name} {count:.1f}" for name, count in data["tokens"].items()) or "none"
    return "\n".join(
        [
            table(["accuracy", "mean, 95% interval", "chance", "samples"], rows),
            "",
            f"FLOPs ratio {data['flops_ratio']:.4f} ({data['flops']:.4g} FLOPs of prefill a sample)",
            f"tokens an item at the last layer: {tokens}",
        ]
    )


def export_tables(data: Mapping[str, Any]) -> str:
    """FLOPs and accuracy of a policy and of what an engine runs in its place."""
    flops, accuracy = data["flops_ratio"], data["accuracy"]
    if flops is None:
        return "FLOPs and accuracy are not known: neither model nor samples are at hand (--model, --data)"
    headers = ["modality", "FLOPs of the policy", "FLOPs of what runs"]
    out = table(headers, [[m, f"{r['policy']:.3f}", f"{r['deployed']:.3f}"] for m, r in flops.items()])
    if accuracy is not None:
        rows = [
            [group, interval(pair["policy"]), interval(pair["deployed"]), interval(data["difference"][group])]
            for group, pair in accuracy.items()
        ]
        return out + "\n\n" + table(["modality", "accuracy of the policy", "of what runs", "difference"], rows)
    return out if data["expressible"] else out + "\n\naccuracy: not measured"


def findings_table(findings: Sequence[Mapping[str, str]], passed: bool) -> str:
    """Findings of a check and the verdict."""
    rows = [[f["verdict"], f["what"], f["expected"], f["found"]] for f in findings]
    verdict = "passed" if passed else "FAILED: " + ", ".join(f["what"] for f in findings if f["verdict"] == "fail")
    return table(["verdict", "what", "expected", "found"], rows) + f"\n\ncheck {verdict}"


def duration(seconds: float) -> str:
    """``1:05`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressBar:
    """Progress with an ETA on stderr, and a text below it: with rich on a terminal, as plain lines elsewhere.

    Args:
        title: what is being done.
        stream: where it is shown; None takes stderr.
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self.title = title
        self.stream = sys.stderr if stream is None else stream
        self._start = self._last = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> ProgressBar:
        self._start = self._last = time.monotonic()
        if self.stream.isatty():
            try:
                from rich.console import Console
                from rich.live import Live
            except ImportError:
                return self
            self._live = Live(console=Console(file=self.stream), refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def phase(self, title: str) -> None:
        """Begin something whose steps are not told."""
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(f"{title} ..."))
        else:
            print(f"{title} ...", file=self.stream, flush=True)

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        if self._live is not None:
            self._live.console.print(message, markup=False, highlight=False)
        else:
            print(message, file=self.stream, flush=True)

    def __call__(self, done: int, total: int, below: str = "", *, eta: float | None = None) -> None:
        """Show that ``done`` of ``total`` are done, with a text below.

        Args:
            done, total: steps.
            below: shown under the bar.
            eta: seconds left; None takes the pace since the start.
        """
        now = time.monotonic()
        passed = now - self._start
        if eta is None and done:
            eta = passed * (total - done) / done
        left = "?" if eta is None else duration(eta)
        line = f"{self.title} {done}/{total}  {duration(passed)} passed, {left} left"
        if self._live is not None:
            from rich.console import Group
            from rich.progress_bar import ProgressBar as Bar
            from rich.text import Text

            self._live.update(Group(Text(line), Bar(total=total, completed=done, width=60), Text(below)))
        elif now - self._last >= PLAIN_EVERY or done == total:
            self._last = now
            print(f"{line}\n{below}" if below else line, file=self.stream, flush=True)
