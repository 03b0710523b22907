"""What becomes of the tokens of a few samples under the exported policy: pictures for the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from autotc.errors import one_line
from autotc.evaluate.base import Evaluator
from autotc.evaluate.looking import look
from autotc.files import replacing, write_text
from autotc.policy import Policy
from autotc.records.account import LOOKED_FOLDER, LOOKED_INDEX
from autotc.report.figures import overlay_webp
from autotc.results import Results, SampleResult

if TYPE_CHECKING:
    from autotc.evaluate.model import ModelEvaluator

BYTES = 40_000
"""Most of a picture: a report of six is to stay small."""


def look_at_samples(
    evaluator: Evaluator, policy: Policy, results: Results, baseline: Results, folder: Path, tell: Callable[[str], None]
) -> None:
    """Draw two test samples of each modality group: one that the policy broke, where there is any, and one it did not.

    Nothing is drawn where the model does not run in this process. What fails is told, and left out.

    Args:
        evaluator: of the study.
        policy: the exported one.
        results, baseline: on the test split, under the policy and without it.
        folder: of the study.
        tell: told what failed.
    """
    observable = evaluator.observable()
    if observable is None or evaluator.engine is not None:
        return
    running = cast("ModelEvaluator", observable)  # the only kind that can be watched
    samples = {sample.id: sample for sample in running.samples("test")}
    rows: list[dict[str, str]] = []
    (folder / LOOKED_FOLDER).mkdir(parents=True, exist_ok=True)
    for chosen in _chosen(results, baseline):
        try:
            view = look(running, policy, samples[chosen.id])
            for number, medium in enumerate(view.media):
                picture = folder / LOOKED_FOLDER / f"{len(rows)}.webp"
                with replacing(picture) as beside:
                    Path(beside).write_bytes(overlay_webp(view, medium=number, limit=BYTES))
                rows.append(
                    {
                        "file": picture.name,
                        "id": view.id,
                        "modality": medium.modality,
                        "prompt": view.prompt,
                        "right": view.right or "",
                        "before": view.baseline.text,
                        "after": view.answer.text,
                        "verdict": view.answer.verdict,
                    }
                )
        except Exception as error:
            tell(f"{chosen.id}: not drawn ({one_line(f'{type(error).__name__}: {error}', 120)})")
    write_text(folder / LOOKED_FOLDER / LOOKED_INDEX, json.dumps(rows, indent=1))


def _chosen(results: Results, baseline: Results) -> list[SampleResult]:
    """Of each modality group the first sample that broke, and the first that is right."""
    before = {sample.id: sample.correct for sample in baseline.samples}
    out: dict[tuple[str, bool], SampleResult] = {}
    for sample in results.samples:
        broke = sample.correct < before[sample.id]
        if broke or sample.correct >= 1:
            out.setdefault((sample.modality, broke), sample)
    return list(out.values())
