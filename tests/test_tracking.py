"""The tracker: names MLflow takes, and how runs end."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from autotc.policy import Policy
from autotc.tracking import Tracker
from autotc.tracking.events import flat_params, metric_name
from autotc.tracking.store import EXPERIMENT

POLICY = Policy.model_validate(
    {
        "stages": [
            {"modality": "image", "location": "projector", "mechanism": "divprune", "keep_ratio": 0.5},
            {"modality": "video", "location": "decoder", "mechanism": "fastv", "layers": {2: 0.5, 4: 0.25}},
        ]
    }
)


def test_metric_names() -> None:
    assert metric_name("acc,none") == "acc_none"
    assert metric_name("accuracy/image+audio") == "accuracy/image_audio"


def test_flat_params() -> None:
    params = flat_params(POLICY)
    assert params["image.0.mechanism"] == "divprune"
    assert params["video.0.layers"] == "2,4"
    assert params["video.0.keep_ratio"] == "0.5,0.25"


def test_how_runs_end(tmp_path: Path) -> None:
    with Tracker("fine", root=tmp_path, params={"seed": 0}) as fine:
        fine.trial(0, POLICY, metrics={"acc,none": 0.5})
        fine.trial(1, POLICY, error="broken")
        fine.curve("hypervolume", 0.1, 1)
    with pytest.raises(RuntimeError), Tracker("raises", root=tmp_path):
        raise RuntimeError
    with pytest.raises(KeyboardInterrupt), Tracker("stopped", root=tmp_path):
        raise KeyboardInterrupt
    with Tracker("fine", root=tmp_path, run_id=fine.run_id) as again:
        assert again.run_id == fine.run_id
    with Tracker("elsewhere", root=tmp_path, run_id="0" * 32) as other:
        assert other.run_id != "0" * 32
    client = MlflowClient(fine.uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    ends = {run.info.run_name: run.info.status for run in found}
    assert ends == {
        "fine": "FINISHED",
        "trial-0": "FINISHED",
        "trial-1": "FAILED",
        "raises": "FAILED",
        "stopped": "KILLED",
        "elsewhere": "FINISHED",
    }
    assert client.get_run(fine.run_id).data.metrics["hypervolume"] == 0.1
