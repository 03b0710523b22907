"""The calibration sample on which a stack does most harm, with what each of its stages drops of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autotc.conflicts.calibration import Calibration
from autotc.errors import one_line
from autotc.policy import Policy
from autotc.records.interaction import InteractionRow, points
from autotc.report.figures import TokenOutcome, dropped_png

_MEDIA = {"image": "images", "video": "videos", "audio": "audio"}


def overlay(calibration: Calibration, row: InteractionRow, path: Path) -> Path:
    """Draw what each stage of a pair drops of the calibration sample on which the stack does most harm."""
    measured, pair = row.measured, row.measured.pair
    both = calibration.trace(pair.stack(), pair.modality)
    first = calibration.trace(Policy(stages=pair.stages()[:1]), pair.modality)
    worst = int(both.shifts.argmax())
    members = calibration.members(pair.modality)
    items = [(i, item) for i, sample in enumerate(members) for item in sample.media().get(_MEDIA[pair.modality], [])]
    number = next(at for at, (i, _) in enumerate(items) if i == worst)
    boxes = calibration.boxes(pair.stack(), pair.modality)[number]
    # Boxes are (t0, t1, y0, y1, x0, x1) in seconds and pixels; the figure takes shares of the item's extent.
    shares = boxes / boxes.amax(0)[[1, 1, 3, 3, 5, 5]].clamp_min(1e-9)
    # Traces are right-aligned to the longest item.
    start = both.lost.shape[1] - len(boxes)
    outcomes = [
        TokenOutcome(
            box=tuple(shares[i].tolist()),
            dropped_by=1 if first.lost[number, start + i] else 2 if both.lost[number, start + i] else 0,
            merged=bool(both.merged[number, start + i]),
        )
        for i in range(len(boxes))
    ]
    effect = f"{points(measured.interaction, ' points')}, {measured.effect}"
    title = f"{pair.label}: {effect}\n{one_line(members[worst].prompt, 120)}"
    return dropped_png(title, (pair.first.label, pair.second.label), np.asarray(items[number][1]), outcomes, path)
