"""What a study counts: trials that ran, were raced, refused or failed, and audits of predicted conflicts."""

from __future__ import annotations

from dataclasses import dataclass, field

from autotc.policy import Policy
from autotc.search.engine import Engine
from autotc.search.trials import State, StoredTrial, TrialRecord


@dataclass
class Tally:
    """Counts over the stored trials of a study.

    Attributes:
        stored: trials of any kind.
        counted: that ran any sample on the whole split, which is what a search is asked for.
        raced: given up on part of the samples.
        failed: whose mechanism raised.
        calibration_forwards: samples that were run to predict conflicts.
        refused: rule -> policies.
        audited: (content hash, whether its race was lost) of stacks that ran although they are predicted to conflict.
    """

    stored: int = 0
    counted: int = 0
    raced: int = 0
    failed: int = 0
    calibration_forwards: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    audited: list[tuple[str, bool]] = field(default_factory=list)

    def add(self, trial: StoredTrial, state: State) -> None:
        """Count a stored trial."""
        self.stored += 1
        self.counted += state == "COMPLETE" and trial.ran
        self.raced += trial.raced is not None
        self.failed += state == "FAIL"
        self.calibration_forwards += trial.watched
        if trial.refused is not None:
            self.refused[trial.refused] = self.refused.get(trial.refused, 0) + 1
        if trial.audited:
            self.audited.append((trial.hash, trial.raced is not None))

    def audits(self, engine: Engine, records: list[TrialRecord]) -> dict[str, int]:
        """Stacks that were refused as conflicts and ``run`` all the same, and how many refusals were ``right``."""
        if not self.audited:
            return {}
        policies = {record.policy.content_hash(): record.policy for record in records}
        right = 0
        for hash_, lost in self.audited:
            stacks = [] if lost else [policies[hash_].modality(m) for m in policies[hash_].modalities]
            right += lost or not any(len(stack) > 1 and _on_front(engine, Policy(stages=stack)) for stack in stacks)
        return {"run": len(self.audited), "right": right}


def _on_front(engine: Engine, stack: Policy) -> bool:
    group = engine.main_group(stack.stages[0].modality)
    return any(entry.policy.content_hash() == stack.content_hash() for entry in engine.archive.front(group))
