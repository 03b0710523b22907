"""The latency model learns what it is given, survives its file, and refuses what it was not made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotc.bench import CalibrationSettings, calibrate_model
from autotc.cost import prefill_cost, request_shapes
from autotc.latency import LatencyError, LatencyModel, Sample, features, fit, place
from autotc.models import bind
from autotc.models.synthetic import random_request
from autotc.policy import Policy, Stage

from .models.families import FAMILIES

WORK = {"request": 3.0, "decoder rows": 2.0, "decoder pairs": 50.0, "image tower": 1.0, "image rows": 4.0}
STEP = np.array([0.5, 0.01, 0.0, 0.002])
"""Milliseconds of an imagined device."""


def shapes(model: Any, tokens: int) -> tuple[Any, ...]:
    return request_shapes(bind(model), random_request(model, {"image": tokens}))


def stage(keep: float, layer: int = 2, mechanism: str = "fastv") -> Stage:
    return Stage(modality="image", location="decoder", layer=layer, mechanism=mechanism, keep_ratio=keep)


def synthetic(model: Any, policy: Policy, tokens: int) -> Sample:
    batch = shapes(model, tokens)
    cost = prefill_cost(bind(model), policy, batch)
    work = sum(WORK.get(name, 0.0) * amount for name, amount in features(cost, batch).items())
    scoring = sum(
        float(STEP @ np.array([1, s.before, s.before**2, s.before * s.after])) * s.items for s in cost.reductions
    )
    return Sample(policy, batch, work + scoring, scoring)


@pytest.fixture(scope="module")
def fitted() -> LatencyModel:
    model = FAMILIES["qwen2_5_vl"].build()
    plans = [(Policy(), n) for n in (9, 25, 64, 144)]
    plans += [(Policy.of([stage(keep, layer)]), n) for n in (25, 64, 144) for keep in (0.2, 0.6) for layer in (1, 3)]
    samples = [synthetic(model, policy, n) for policy, n in plans]
    held = [("image 100", synthetic(model, Policy.of([stage(0.4)]), 100))]
    return fit(model, samples, held)


def test_it_learns_what_it_is_given(fitted: LatencyModel) -> None:
    assert fitted.errors()[1] < 1e-6
    model = FAMILIES["qwen2_5_vl"].build()
    bound = bind(model)
    for tokens, keep in ((36, 0.3), (121, 0.8)):
        sample = synthetic(model, Policy.of([stage(keep)]), tokens)
        assert fitted.predict(bound, sample.policy, sample.batch) == pytest.approx(sample.total, 1e-6)


def test_more_work_takes_longer(fitted: LatencyModel) -> None:
    model = FAMILIES["qwen2_5_vl"].build()
    bound = bind(model)
    batch = shapes(model, 144)
    times = [fitted.predict(bound, Policy.of([stage(k)]), batch) for k in (0.1, 0.3, 0.6, 0.9)]
    assert times == sorted(times)
    assert min(fitted.work.values()) >= 0
    assert all(min(steps) >= 0 for steps in fitted.mechanisms.values())


def test_round_trip(fitted: LatencyModel, tmp_path: Path) -> None:
    path = fitted.save(tmp_path / "deep" / "latency.json")
    assert LatencyModel.load(path) == fitted
    with pytest.raises(LatencyError, match=r"no such latency model; make one: autotc bench --calibrate"):
        LatencyModel.load(tmp_path / "absent.json")
    path.write_text("{}")
    with pytest.raises(LatencyError, match="is not a latency model"):
        LatencyModel.load(path)
    with pytest.raises(LatencyError, match="cannot be written"):
        fitted.save(path / "below" / "a-file.json")


def test_it_refuses_what_it_was_not_made_for(fitted: LatencyModel) -> None:
    fitted.check(FAMILIES["qwen2_5_vl"].build())
    with pytest.raises(LatencyError, match="made for Qwen2_5_VLForConditionalGeneration"):
        fitted.check(FAMILIES["llava"].build())
    elsewhere = fitted.model_copy(update={"device": fitted.device.model_copy(update={"threads": 77})})
    with pytest.raises(LatencyError, match="made with threads 77, here it is"):
        elsewhere.check(FAMILIES["qwen2_5_vl"].build())
    model = FAMILIES["qwen2_5_vl"].build()
    policy = Policy.of([stage(0.5, mechanism="pyramiddrop")])
    with pytest.raises(LatencyError, match=r"pyramiddrop@decoder/image was not calibrated.*--mechanisms pyramiddrop"):
        fitted.predict(bind(model), policy, shapes(model, 64))
    assert fitted.lacking([place("fastv", "decoder", "image"), place("tome", "projector", "image")]) == [
        "tome@projector/image"
    ]


def test_calibration_covers_every_place_of_its_mechanisms() -> None:
    model = FAMILIES["qwen2_5_vl"].build()
    found = calibrate_model(model, ["fastv", "tome"], CalibrationSettings(tokens=36, repeats=1, held_out=3))
    ways = [("image", "video"), ("projector", "decoder", "encoder")]
    assert {place("tome", at, m) for m in ways[0] for at in ways[1]} <= set(found.mechanisms)  # type: ignore[arg-type]
    assert {place("fastv", "decoder", m) for m in ways[0]} <= set(found.mechanisms)
    assert len(found.held_out) == 3
    for row in found.held_out:
        assert row.measured > 0
        assert row.predicted > 0
