"""Per-sample results in a file: what is written comes back, also from files of before a column."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from autotc.results import Results, SampleResult


def test_results_come_back_with_their_clusters(tmp_path: Path) -> None:
    samples = (
        SampleResult("a", "t", "image", 1.0, "red", -0.5, 0.25, "media of a"),
        SampleResult("b", "t", "image", 0.0, "blue", -2.0, cluster=""),
    )
    path = Results(samples).save(tmp_path / "x.samples.parquet")
    found = Results.load(path).samples
    assert found[0] == samples[0]
    assert (found[1].id, found[1].cluster) == ("b", "")
    assert math.isnan(found[1].divergence)


def test_a_file_of_before_clusters_loads(tmp_path: Path) -> None:
    path = Results((SampleResult("a", "t", "image", 1.0, "red", -0.5, 0.25, "c"),)).save(tmp_path / "x.parquet")
    pd.read_parquet(path).drop(columns=["cluster", "divergence"]).to_parquet(path, index=False)
    (found,) = Results.load(path).samples
    assert found.cluster == ""
    assert math.isnan(found.divergence)
