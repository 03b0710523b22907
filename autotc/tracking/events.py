"""What is logged, as plain data: it can be logged at once, or be kept in a file and logged later."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from autotc.policy import Policy

Status = Literal["FINISHED", "FAILED", "KILLED"]
_LONGEST = 500
"""Characters of a parameter."""


class _Event(BaseModel):
    """Something to log.

    Attributes:
        time: when it happened, in milliseconds since 1970; what is logged twice with it counts once.
    """

    model_config = ConfigDict(frozen=True)
    time: int = Field(default_factory=lambda: int(time.time() * 1000))


class TrialEvent(_Event):
    """A trial that ended: a nested run."""

    kind: Literal["trial"] = "trial"
    number: int
    policy: str
    params: dict[str, str]
    metrics: dict[str, float]
    error: str | None = None


class CurveEvent(_Event):
    """Points (name, value, step) of the parent run's curves."""

    kind: Literal["curve"] = "curve"
    points: list[tuple[str, float, int]]


class FinishEvent(_Event):
    """What the whole found: metrics, a table, files and tags of the parent run.

    Attributes:
        policy: file of the policy that was found.
        tags: name -> value; ``mlflow.note.content`` is the run's description, in Markdown.
        datasets: name, digest and profile (a JSON text) of each split.
    """

    kind: Literal["finish"] = "finish"
    metrics: dict[str, float]
    columns: list[str]
    rows: list[list[Any]]
    artefacts: list[str]
    policy: str | None = None
    tags: dict[str, str] = {}
    datasets: list[tuple[str, str, str]] = []


class EndEvent(_Event):
    """How the parent run ended."""

    kind: Literal["end"] = "end"
    status: Status


Event = Annotated[TrialEvent | CurveEvent | FinishEvent | EndEvent, Field(discriminator="kind")]
EVENTS: TypeAdapter[TrialEvent | CurveEvent | FinishEvent | EndEvent] = TypeAdapter(Event)


def trial_event(
    number: int, policy: Policy, metrics: Mapping[str, float], params: Mapping[str, object], error: str | None
) -> TrialEvent:
    """A trial that ended, its policy as a file and as flat parameters."""
    return TrialEvent(
        number=number,
        policy=policy.to_yaml(),
        params={**flat_params(policy), **short_values(params)},
        metrics={metric_name(name): float(value) for name, value in metrics.items()},
        error=error,
    )


def finish_event(
    metrics: Mapping[str, float],
    table: Sequence[Mapping[str, Any]],
    artefacts: Sequence[str | Path],
    policy: str | Path | None = None,
    tags: Mapping[str, str] | None = None,
    datasets: Sequence[tuple[str, str, str]] = (),
) -> FinishEvent:
    """What the whole found; rows of the table may lack columns."""
    columns = list(dict.fromkeys(key for row in table for key in row))
    return FinishEvent(
        metrics={metric_name(name): float(value) for name, value in metrics.items()},
        columns=columns,
        rows=[[row.get(key) for key in columns] for row in table],
        artefacts=[str(Path(path).resolve()) for path in artefacts],
        policy=None if policy is None else str(Path(policy).resolve()),
        tags=dict(tags or {}),
        datasets=list(datasets),
    )


def metric_name(name: str) -> str:
    """A name that MLflow takes: letters, digits, ``_ - . / :`` and spaces; anything else becomes ``_``."""
    return re.sub(r"[^\w\-./: ]", "_", name, flags=re.ASCII)


def short_values(params: Mapping[str, object]) -> dict[str, str]:
    """Parameters as MLflow takes them: text, cut to a length."""
    return {key: str(value)[:_LONGEST] for key, value in params.items()}


def flat_params(policy: Policy) -> dict[str, str]:
    """A policy's stages as flat parameters, e.g. ``image.0.mechanism``."""
    out: dict[str, str] = {"policy": policy.label()[:_LONGEST]}
    for modality in policy.modalities:
        for i, stage in enumerate(policy.modality(modality)):
            prefix = f"{modality}.{i}"
            out[f"{prefix}.mechanism"] = stage.mechanism
            out[f"{prefix}.location"] = stage.location
            if stage.layers is not None:
                out[f"{prefix}.layers"] = ",".join(str(layer) for layer, _ in stage.steps())
            elif stage.layer is not None:
                out[f"{prefix}.layers"] = str(stage.layer)
            out[f"{prefix}.keep_ratio"] = ",".join(f"{ratio:g}" for _, ratio in stage.steps())
            out.update(short_values({f"{prefix}.params.{key}": value for key, value in stage.params.items()}))
    return out
