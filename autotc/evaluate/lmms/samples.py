"""Documents of lmms-eval's tasks as samples."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from autotc.evaluate.lmms.generation import Generation
from autotc.evaluate.lmms.tasks import LmmsTask
from autotc.evaluate.samples import Sample


@dataclass(frozen=True)
class LmmsSample(Sample):
    """A document.

    Attributes:
        source: its task.
        index: its place in the task.
        generation: how its answer is generated; None for a multiple choice.
        choices: answers of a multiple choice.
    """

    source: LmmsTask = field(compare=False)
    index: int
    generation: Generation | None
    choices: tuple[str, ...]

    @property
    def batch_key(self) -> Hashable:
        """Multiple choices apart, and answers that are generated in other ways."""
        return self.generation is None, str(self.generation)
