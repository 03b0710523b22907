"""Task folders that the tests write: documents, and a YAML file that names functions in `utils.py` beside it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

UTILS = """
def doc_to_visual(doc):
    return [doc["image"].convert("RGB")]

def sound(doc):
    return [{"array": [((i * doc["id"]) % 17) / 17 for i in range(4000 + 800 * doc["id"])], "sampling_rate": 3200}]

def film(doc):
    frames = [doc["image"].convert("RGB").rotate(20 * i) for i in range(4)]
    return [{"type": "video", "url": frames}]

def number(doc, results):
    return {"acc": float(results[0] == doc["answer"]), "length": len(results[0])}

def entry(doc, results):
    return {"other": {"id": doc["id"], "score": float(results[0] == doc["answer"])}}

def percent(doc, results):
    return {"share": {"said": results[0], "right": doc["answer"]}}

def percent_of(entries):
    return 100 * sum(e["said"] == e["right"] for e in entries) / len(entries)

def distance(doc, results):
    return {"wer": (results[0], doc["answer"])}

def distance_of(entries):
    return sum(said != right for said, right in entries) / len(entries)

def pairs_of(entries):
    assert len(entries) == 2, "in pairs"
    return 1.0
"""


def png(number: int) -> dict[str, Any]:
    """A picture as `datasets` stores it."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def write(folder: Path, name: str, rows: Sequence[dict[str, Any]], **config: Any) -> Path:
    """A task ``name`` of documents with pictures; texts that start with ``!`` name functions of `UTILS`."""
    import datasets

    data = datasets.Dataset.from_list(list(rows))
    if "image" in data.features:
        data = data.cast_column("image", datasets.Image())
    data.to_parquet(folder / f"{name}.parquet")
    (folder / "utils.py").write_text(UTILS)
    task = {
        "task": name,
        "dataset_path": "parquet",
        "dataset_kwargs": {"data_files": {"test": f"{name}.parquet"}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_visual": "!doc_to_visual",
        "doc_to_text": "question",
        "doc_to_target": "answer",
        **config,
    }
    lines = []
    for line in yaml.safe_dump(task, sort_keys=False).splitlines():
        before, mark, after = line.partition("'!")
        lines.append(f"{before}!function utils.{after[:-1]}" if mark else line)
    (folder / f"{name}.yaml").write_text("\n".join(lines) + "\n")
    return folder


def rows(n: int, *, shared: int = 1) -> list[dict[str, Any]]:
    """Documents whose pictures are shared by so many of them each."""
    return [
        {"id": i, "image": png(i // shared), "question": f"count digits {i}", "answer": str(i % 5)} for i in range(n)
    ]
