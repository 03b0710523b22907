"""Checkpoints whose files are cut, of another form, or hold code: one line that names the file, and nothing runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import autotc
from autotc import cli
from autotc.errors import DataError
from tests.models.checkpoints import save

JSON_FILES = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "model.safetensors.index.json",
)
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llava", tmp_path_factory.mktemp("checkpoint") / "model")


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def refused(folder: Path) -> str:
    """The one line that the folder is refused with."""
    with pytest.raises(DataError) as caught:
        autotc.load(str(folder))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", [*JSON_FILES, "chat_template.jinja"])
def test_files_that_are_cut(copy: Path, name: str) -> None:
    text = (copy / name).read_text(encoding="utf-8")
    (copy / name).write_text(text[: len(text) // 2], encoding="utf-8")
    assert name in refused(copy)
    (copy / name).write_bytes(b"\xff\xfe\x00{")
    assert f"{name}: is no UTF-8 text" in refused(copy)


@pytest.mark.parametrize("name", JSON_FILES)
@pytest.mark.parametrize("text", ["[]", "3", '"x"', "null", "[" * 100_000])
def test_files_of_another_form(copy: Path, name: str, text: str) -> None:
    (copy / name).write_text(text, encoding="utf-8")
    assert f"{name}: " in refused(copy)


def rewritten(name: str, **values: Any) -> Change:
    def change(folder: Path) -> None:
        data = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps({**data, **values}), encoding="utf-8")

    return change


def damaged_weights(content: bytes) -> Change:
    def change(folder: Path) -> None:
        next(folder.glob("model-00002*")).write_bytes(content)

    return change


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (rewritten("generation_config.json", eos_token_id="x"), "generation_config.json: eos_token_id: 'x' given"),
        (rewritten("generation_config.json", pad_token_id=[1, "y"]), "generation_config.json: pad_token_id: [1, 'y']"),
        (rewritten("config.json", architectures=3), "config.json: architectures: 3 given"),
        (rewritten("config.json", text_config=3), "text_config"),
        (rewritten("config.json", vision_feature_layer="x"), "vision_feature_layer"),
        (rewritten("config.json", dtype="float99"), "float99"),
        (rewritten("tokenizer_config.json", pad_token=3), "pad_token"),
        (rewritten("tokenizer_config.json", tokenizer_class=3), "processor that can be read"),
        (rewritten("processor_config.json", image_processor=3), "processor that can be read"),
        (rewritten("model.safetensors.index.json", weight_map=3), "weight_map: 3 given"),
        (rewritten("model.safetensors.index.json", weight_map={"a": "../../x"}), "'../../x' given; a file of the same"),
        (damaged_weights(b""), "model-00002"),
        (damaged_weights(b"\xff" * 40), "model-00002"),
    ],
)
def test_values_of_another_type(copy: Path, change: Change, part: str) -> None:
    change(copy)
    assert part in refused(copy)


@pytest.mark.parametrize("template", ["{% for x in %}", "{{ messages", "{% if a %}"])
def test_templates_that_are_none(copy: Path, template: str) -> None:
    (copy / "chat_template.jinja").write_text(template, encoding="utf-8")
    assert "chat_template.jinja: is no chat template (line 1" in refused(copy)


class Code:
    """Pickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("damaged", [False, True])
def test_weights_with_code_are_not_run(copy: Path, tmp_path: Path, damaged: bool) -> None:
    for path in copy.glob("model*"):
        path.unlink()
    if damaged:
        (copy / "pytorch_model.bin").write_bytes(b"no weights")
    else:
        torch.save({"weight": Code(tmp_path / "made")}, copy / "pytorch_model.bin")
    assert "(pytorch_model.bin) are damaged or hold code, which is not run" in refused(copy)
    assert not (tmp_path / "made").exists()


def test_the_command_ends_with_2(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "generation_config.json").write_text("{", encoding="utf-8")
    for i in range(6):
        Image.new("RGB", (30, 30), (i, i, i)).save(tmp_path / f"{i}.png")
    data = tmp_path / "data.jsonl"
    lines = [{"id": str(i), "images": [f"{i}.png"], "prompt": "a", "answer": "b"} for i in range(6)]
    data.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    assert cli.main(["eval", "none", "--model", str(copy), "--data", str(data)]) == 2
    captured = capsys.readouterr()
    assert "generation_config.json: is no JSON" in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
