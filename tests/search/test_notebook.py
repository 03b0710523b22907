"""A search shows its front in a notebook, as a figure and a table."""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from autotc.search.result import FrontRow, SearchResult
from autotc.statistics import Interval

CODE = """
import autotc
autotc.search(
    trials=2, search_limit=2, val_limit=2, test_limit=2, ranked=2, track=False, force=True, runs="runs", out_dir="out"
)
"""
PICTURE = re.compile(r'<img alt="[^"]*" src="data:image/png;base64,([^"]+)">')


def result() -> SearchResult:
    half = Interval(0.5, 0.4, 0.6)
    rows = tuple(
        FrontRow(
            policy=f"{number}.yaml",
            label=f"image projector <b>{number}",
            accuracy=0.5 + number / 10,
            accuracy_by={"image": half},
            flops_ratio=0.3 + number / 10,
            trial=number,
            tokens={"image": 8.0},
            split="test",
            chosen=number == 1,
        )
        for number in range(3)
    )
    return SearchResult(
        policy=Path("x.yaml"),
        front=rows,
        uncompressed={"image": half},
        floors={},
        trials=3,
        refused={},
        failed=0,
        seconds=1,
        hypervolume=0.1,
        study="a <study>",
        storage="",
        mlflow_uri=None,
    )


def test_a_result_is_a_figure_and_a_table() -> None:
    html = result()._repr_html_()
    picture = PICTURE.match(html)
    assert picture is not None
    assert base64.b64decode(picture[1]).startswith(b"\x89PNG")
    assert len(html) < 60_000
    assert "0.500 [0.400, 0.600]" in html
    assert "<study>" not in html
    assert "<b>" not in html


def test_without_matplotlib_the_table_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [*filter(lambda name: name.startswith("matplotlib"), sys.modules), "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    assert result()._repr_html_().startswith("<table>")


def test_in_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (shown,) = [output for output in notebook.cells[0].outputs if output.output_type == "execute_result"]
    assert PICTURE.match(shown.data["text/html"])
    assert "<table>" in shown.data["text/html"]
    assert (tmp_path / "out").is_dir()
