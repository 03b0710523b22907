"""What a policy makes of one request: what became of each token at every stage, and what the model answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotc.vocabulary import Location, Modality


@dataclass(frozen=True)
class Panel:
    """One picture on which tokens are drawn.

    Attributes:
        label: what it shows, empty where that goes without saying.
        span: first and last share of the medium's time.
    """

    label: str
    span: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True, eq=False)
class TokenGrid:
    """Where a medium's tokens stand in it.

    Attributes:
        boxes: (N, 6) float, (t0, t1, y0, y1, x0, x1) as shares of the medium.
        panel: (N,) which panel each is drawn on; a panel's tokens tile it.
        panels: spans of a video's time, views of a picture; one of other media.
    """

    boxes: NDArray[np.float64]
    panel: NDArray[np.int64]
    panels: tuple[Panel, ...]


@dataclass(frozen=True, eq=False)
class StageOutcome:
    """What is left of a medium's tokens behind a stage, all stages before it included.

    Attributes:
        label: modality, location, layer and mechanism; ``uncompressed`` where there is no stage yet.
        location: of the stage; None where there is none yet.
        grid: of the N tokens that enter the tower.
        group: (N,) which survivor each token flows into, counted from 0 over the medium; where it flows into several,
            the one in which it weighs most; -1 where no survivor stands for it.
        kept: (N,) bool, tokens whose positions survive.
    """

    label: str
    location: Location | None
    grid: TokenGrid
    group: NDArray[np.int64]
    kept: NDArray[np.bool_]

    @property
    def left(self) -> int:
        """Tokens that are left."""
        return int(self.kept.sum())

    @property
    def merged(self) -> NDArray[np.bool_]:
        """(N,) bool, tokens that share their survivor with others."""
        sizes = np.bincount(self.group[self.group >= 0], minlength=1)
        return np.asarray((self.group >= 0) & (sizes[self.group.clip(0)] > 1))

    def to_json(self) -> dict[str, Any]:
        """Counts, and for each token its survivor (-1: none)."""
        return {
            "stage": self.label,
            "location": self.location,
            "tokens": self.left,
            "dropped": int((self.group < 0).sum()),
            "merged": int(self.merged.sum()),
            "group": self.group.tolist(),
            "kept": self.kept.astype(int).tolist(),
        }


@dataclass(frozen=True, eq=False)
class MediumView:
    """One image, video or audio clip of a request.

    Attributes:
        modality: what it is.
        extent: (seconds, height, width) of it as far as tokens cover it.
        stages: the uncompressed tokens, then what each stage has left.
        content: (H, W, 3) or (T, H, W, 3) of uint8, or (samples,) of sound; None where only its shape is known.
    """

    modality: Modality
    extent: tuple[float, float, float]
    stages: tuple[StageOutcome, ...]
    content: NDArray[Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything but the medium itself; boxes where they differ from those of the stage before."""
        stages = []
        for before, stage in zip((None, *self.stages), self.stages, strict=False):
            document = stage.to_json()
            if before is None or before.grid is not stage.grid:
                document["boxes"] = stage.grid.boxes.round(5).tolist()
            stages.append(document)
        return {"modality": self.modality, "extent": list(self.extent), "stages": stages}


@dataclass(frozen=True)
class Answer:
    """What a model said.

    Attributes:
        text: its words.
        score: in [0, 1]; None where the right answer is not known.
    """

    text: str
    score: float | None = None

    @property
    def verdict(self) -> str:
        """``right``, ``wrong``, a score between them, or nothing where it is not known."""
        if self.score is None:
            return ""
        return "right" if self.score == 1 else "wrong" if self.score == 0 else f"score {self.score:.2f}"

    def to_json(self) -> dict[str, Any]:
        """Words and score."""
        return {"text": self.text, "score": self.score}


@dataclass(frozen=True, eq=False)
class RequestView:
    """One request under a policy, beside the uncompressed model.

    Attributes:
        id: of the sample.
        policy: what the policy is called.
        prompt: text.
        right: the right answer; None where it is not known.
        answer: under the policy.
        baseline: of the uncompressed model.
        flops_ratio: prefill FLOPs under the policy / without it.
        media: in the order of the prompt.
        untouched: modalities of the request that no stage of the policy acts on.
    """

    id: str
    policy: str
    prompt: str
    right: str | None
    answer: Answer
    baseline: Answer
    flops_ratio: float
    media: tuple[MediumView, ...] = field(default=())
    untouched: tuple[Modality, ...] = ()

    def tokens(self) -> list[tuple[str, int]]:
        """Label of each stage in turn, with the tokens that it leaves of the media of its modality together."""
        out: list[tuple[str, int]] = []
        for modality in dict.fromkeys(medium.modality for medium in self.media):
            members = [medium for medium in self.media if medium.modality == modality]
            for stages in zip(*(medium.stages for medium in members), strict=True):
                label = stages[0].label if stages[0].location else f"{modality} uncompressed"
                out.append((label, sum(stage.left for stage in stages)))
        return out

    def to_json(self) -> dict[str, Any]:
        """The document of one request of ``autotc show --json``."""
        return {
            "id": self.id,
            "policy": self.policy,
            "prompt": self.prompt,
            "right": self.right,
            "answer": self.answer.to_json(),
            "baseline": self.baseline.to_json(),
            "flops_ratio": self.flops_ratio,
            "untouched": list(self.untouched),
            "tokens": [{"stage": label, "tokens": count} for label, count in self.tokens()],
            "media": [medium.to_json() for medium in self.media],
        }
