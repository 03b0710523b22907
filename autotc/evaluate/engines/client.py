"""What an engine is asked, and by whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from autotc.evaluate.samples import Media
from autotc.policy import Policy

FPS = 24.0
"""Frames a second of videos whose samples do not tell it: what processors take where they are told nothing."""


@dataclass(frozen=True)
class Question:
    """One prompt with its media.

    Attributes:
        named: what its sample is called in errors.
        turns: the conversation as chat templates take it, with a part for each medium where it stands.
        media: ``images`` and ``videos`` in the order of their parts, as `Sample.media` loads them.
        new_tokens: most tokens of its answer.
    """

    named: str
    turns: Sequence[Mapping[str, object]]
    media: Media
    new_tokens: int


class Client(Protocol):
    """Asks an engine.

    Attributes:
        name: of the engine with its version, as far as it is known, and where it runs.
    """

    name: str

    def answers(self, policy: Policy, questions: Sequence[Question]) -> list[str]:
        """Greedy answers under a policy.

        Raises:
            PolicyError: the engine cannot run the policy.
            DataError: it does not take a question, cannot be reached, or serves another policy.
        """
