"""Write the documents of the embedded tasks: ``python -m autotc.evaluate.lmms.embedded.write``."""

from __future__ import annotations

from pathlib import Path

from autotc.evaluate.builtin import TASKS, build_samples


def write(folder: Path) -> None:
    """One parquet file for each modality group: id, kind of question, question and answer of the test split."""
    import pandas as pd

    for group in TASKS:
        rows = [
            {"id": s.id, "kind": s.task, "question": s.prompt, "answer": s.answer}
            for s in build_samples("test", 0)
            if s.group == group
        ]
        pd.DataFrame(rows).to_parquet(folder / f"{group.replace('+', '_')}.parquet", index=False)


if __name__ == "__main__":
    write(Path(__file__).parent)
