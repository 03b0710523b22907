"""Predict a policy's prefill time on a device from a short calibration, so that a search can target milliseconds.

The analytic work of `autotc.cost` (rows and pairs of rows in towers and decoder, tokens that mechanisms are given) is
weighed with coefficients that non-negative least squares learns from measured runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from autotc.cost import Cost, Reduced, Request, prefill_cost
from autotc.errors import AutotcError, DataError, quote
from autotc.files import read_text, write_text
from autotc.lazy import nn, torch
from autotc.models import BoundAdapter, bind
from autotc.policy import ModelReference, Policy, Stage
from autotc.vocabulary import Location

Overhead = tuple[float, float, float, float]
"""Milliseconds of a mechanism: a step; a token it is given; a pair of such tokens; a pair of a given and a kept one."""


class LatencyError(AutotcError):
    """A latency model is missing, or was made for something else."""


class Device(BaseModel):
    """Where times were taken; predictions hold there alone.

    Attributes:
        name: of the accelerator, or of the processor.
        threads: of the host.
        dtype: of the weights.
        torch: version.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    threads: int
    dtype: str
    torch: str

    @classmethod
    def of(cls, model: nn.Module) -> Device:
        """The device that a model is on."""
        weight = next(model.parameters())
        name = torch.cuda.get_device_name(weight.device) if weight.device.type == "cuda" else _processor()
        return cls(
            name=name,
            threads=torch.get_num_threads(),
            dtype=str(weight.dtype).removeprefix("torch."),
            torch=torch.__version__,
        )


class HeldOut(BaseModel):
    """A policy that the fit did not see: measured and predicted prefill time in milliseconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    policy: str
    case: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted / self.measured - 1


@dataclass(frozen=True)
class Sample:
    """One measured run.

    Attributes:
        policy, batch: what ran.
        total: milliseconds of prefill.
        scoring: of them on scores and mechanisms.
    """

    policy: Policy
    batch: tuple[Request, ...]
    total: float
    scoring: float


class LatencyModel(BaseModel):
    """Prefill time of a model's policies on one device.

    Attributes:
        model: architecture and fingerprint.
        device: where it was calibrated.
        work: feature -> milliseconds of one unit of it.
        mechanisms: ``mechanism@location/modality`` -> overhead of a step.
        held_out: policies that the fit did not see.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: int = 1
    model: ModelReference
    device: Device
    work: dict[str, float]
    mechanisms: dict[str, Overhead]
    held_out: tuple[HeldOut, ...] = ()

    def predict(self, bound: BoundAdapter, policy: Policy, batch: Sequence[Request]) -> float:
        """Milliseconds of a batch's prefill.

        Raises:
            LatencyError: the policy has a mechanism at a place that was not calibrated.
        """
        return self.of_cost(prefill_cost(bound, policy, batch), batch)

    def of_cost(self, cost: Cost, batch: Sequence[Request]) -> float:
        """Milliseconds of the prefill of a batch whose cost is known already.

        Raises:
            LatencyError: a mechanism at a place that was not calibrated.
        """
        out = sum(self.work.get(name, 0.0) * amount for name, amount in features(cost, batch).items())
        for step in cost.reductions:
            key = _place(step.stage)
            if key not in self.mechanisms:
                raise LatencyError(f"latency: {key} was not calibrated; {_how_to([step.stage.mechanism])}")
            out += float(np.dot(self.mechanisms[key], _amounts(step)))
        return out

    def lacking(self, places: Iterable[str]) -> list[str]:
        """Those of some places (as `place` names them) that were not calibrated."""
        return sorted({*places} - {*self.mechanisms})

    def errors(self) -> tuple[float, float]:
        """Median and worst relative error on the held-out policies."""
        errors = [abs(row.error) for row in self.held_out]
        return float(np.median(errors)), max(errors)

    def check(self, model: nn.Module) -> None:
        """See that this is about a model and the device it is on.

        Raises:
            LatencyError: it is not.
        """
        mine = bind(model).reference
        if mine != self.model:
            raise LatencyError(
                f"latency: made for {self.model.architecture} {self.model.fingerprint}, the model is"
                f" {mine.architecture} {mine.fingerprint}; {_how_to()}"
            )
        here = Device.of(model)
        for name, value in self.device.model_dump().items():
            if value != getattr(here, name):
                raise LatencyError(f"latency: made with {name} {value}, here it is {getattr(here, name)}; {_how_to()}")

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, whole or not at all; returns the path.

        Raises:
            LatencyError: it cannot be written.
        """
        try:
            return write_text(path, json.dumps(self.model_dump(mode="json"), indent=1) + "\n")
        except DataError as error:
            raise LatencyError(str(error)) from error

    @classmethod
    def load(cls, path: str | Path) -> LatencyModel:
        """Read what `save` wrote.

        Raises:
            LatencyError: it is missing or not a latency model.
        """
        if not os.path.lexists(path):
            raise LatencyError(f"{quote(str(path), 120)}: no such latency model; {_how_to()}")
        text = read_text(path, f"a latency model ({_how_to()})", error=LatencyError)
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise LatencyError(f"{path}: is not a latency model; {_how_to()}") from error


def place(mechanism: str, location: Location, modality: str) -> str:
    """Name of a mechanism where it acts: ``mechanism@location/modality``."""
    return f"{mechanism}@{location}/{modality}"


def _place(stage: Stage) -> str:
    return place(stage.mechanism, stage.location, stage.modality)


def features(cost: Cost, batch: Sequence[Request]) -> dict[str, float]:
    """Amounts of work of a prefill; thousands of rows and millions of pairs, so that coefficients are of one order."""
    rows = len(batch)
    out = {
        "request": 1.0,
        "decoder rows": rows * sum(cost.lengths) / 1e3,
        "decoder pairs": rows * sum(n * n for n in cost.lengths) / 1e6,
    }
    for modality, (run, pairs) in cost.towers.items():
        units = sum(item.count for request in batch for item in request.items if item.modality == modality)
        out |= {
            f"{modality} tower": 1.0,
            f"{modality} rows": run / 1e3,
            f"{modality} pairs": pairs / 1e6,
            f"{modality} units": units / 1e3,
        }
    for step in cost.reductions:
        key = f"{step.stage.location} step"
        out[key] = out.get(key, 0.0) + 1.0
    return out


def fit(model: nn.Module, samples: Sequence[Sample], held_out: Sequence[tuple[str, Sample]] = ()) -> LatencyModel:
    """Learn the coefficients from measured runs, by non-negative least squares on relative errors.

    Args:
        model: that ran.
        samples: of every kind of work and of every mechanism at the places that shall be predicted, at several sizes.
        held_out: names and runs that the fit does not see.
    """
    from scipy.optimize import nnls

    bound = bind(model)
    costs = [prefill_cost(bound, s.policy, s.batch) for s in samples]
    amounts = [features(cost, s.batch) for cost, s in zip(costs, samples, strict=True)]
    names = sorted({name for row in amounts for name in row})
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in amounts])
    times = np.array([s.total - s.scoring for s in samples])
    weights, _ = nnls(matrix / times[:, None], np.ones(len(times)))
    # Least squares of relative errors lean to the low side; half of the runs shall lie on either.
    weights /= np.median(matrix @ weights / times)
    steps: dict[str, list[tuple[NDArray[np.float64], float]]] = {}
    for cost, sample in zip(costs, samples, strict=True):
        if len(cost.reductions) == 1:
            (step,) = cost.reductions
            steps.setdefault(_place(step.stage), []).append((_amounts(step), sample.scoring))
    mechanisms: dict[str, Overhead] = {}
    for key, runs in sorted(steps.items()):
        spent = np.maximum([scoring for _, scoring in runs], 1e-6)
        overhead, _ = nnls(np.array([amount for amount, _ in runs]) / spent[:, None], np.ones(len(spent)))
        mechanisms[key] = tuple(map(float, overhead))  # type: ignore[assignment]
    fitted = LatencyModel(
        model=bound.reference,
        device=Device.of(model),
        work=dict(zip(names, map(float, weights), strict=True)),
        mechanisms=mechanisms,
    )
    rows = [
        HeldOut(
            policy=sample.policy.label(),
            case=name,
            measured=sample.total,
            predicted=fitted.predict(bound, sample.policy, sample.batch),
        )
        for name, sample in held_out
    ]
    return fitted.model_copy(update={"held_out": tuple(rows)})


def _amounts(step: Reduced) -> NDArray[np.float64]:
    n, m = step.before, step.after
    return step.items * np.array([1.0, n, n * n, n * m])


def _processor() -> str:
    """Name of the host's processor, where the system tells it."""
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _how_to(mechanisms: Sequence[str] = ()) -> str:
    names = f" --mechanisms {','.join(mechanisms)}" if mechanisms else ""
    return f"make one: autotc bench --calibrate{names}"
