"""The calibration sample on which a stack does most harm, with what each of its stages makes of it."""

from __future__ import annotations

from pathlib import Path

from autotc.conflicts.calibration import Calibration
from autotc.errors import one_line
from autotc.records.interaction import InteractionRow, points
from autotc.report.figures import media_png


def overlay(calibration: Calibration, row: InteractionRow, path: Path) -> Path:
    """Draw what each stage of a pair leaves of the calibration sample on which the stack does most harm."""
    measured, pair = row.measured, row.measured.pair
    stack = pair.stack()
    worst = int(calibration.trace(stack, pair.modality).shifts.argmax())
    effect = f"{points(measured.interaction, ' points')}, {measured.effect}"
    prompt = one_line(calibration.members(pair.modality)[worst].prompt, 120)
    views = calibration.views(stack, pair.modality, worst)
    return media_png(f"{pair.label}: {effect}\n{prompt}", views, path)
