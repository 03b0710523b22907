"""Checkpoints in the hub's layout: loaded, evaluated from the command line, and refused in one line."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import autotc
from autotc import cli
from autotc.errors import AutotcError, DataError
from autotc.evaluate.jsonl import JsonlEvaluator
from autotc.models import checkpoints, devices, find_adapter, weights
from autotc.policy import Policy

from .checkpoints import PROCESSORS, save
from .families import FAMILIES

SIZES = [(30, 70), (48, 48), (70, 30), (40, 44), (24, 60), (20, 20), (33, 33), (50, 20)]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Lines of a data file by modality; answers of one word and of two, prompts of several lengths."""
    import soundfile
    from PIL import Image

    root = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    lines: dict[str, list[dict[str, Any]]] = {"image": [], "video": [], "audio": []}
    for i, (height, width) in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(root / f"{i}.png")
        np.save(root / f"{i}.npy", rng.integers(0, 255, (4, 32, 24, 3), dtype=np.uint8))
        soundfile.write(root / f"{i}.wav", rng.normal(0, 0.1, 1600 * (3 + i)), 16000)
        rest = {"prompt": " ".join(["which digit is red"] * (1 + i % 3)), "answer": ["red", "blue", "red blue"][i % 3]}
        for kind, key, suffix in (("image", "images", "png"), ("video", "video", "npy"), ("audio", "audio", "wav")):
            lines[kind].append({"id": f"{kind}{i}", key: [str(root / f"{i}.{suffix}")], **rest})
    return lines


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A family's checkpoint, saved once."""
    root = tmp_path_factory.mktemp("checkpoints")

    def made(name: str) -> Path:
        return root / name if (root / name).exists() else save(name, root / name)

    return made


def data_file(media: dict[str, list[dict[str, Any]]], modalities: Any, folder: Path) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n".join(json.dumps(line) for modality in modalities for line in media[modality]))
    return path


def stacked(modalities: Any) -> list[dict[str, Any]]:
    places: tuple[dict[str, Any], ...] = (
        {"location": "projector", "mechanism": "divprune", "keep_ratio": 0.5},
        {"location": "decoder", "layer": 2, "mechanism": "fastv", "keep_ratio": 0.25},
    )
    return [{"modality": modality, **place} for modality in modalities for place in places]


@pytest.mark.parametrize("name", sorted(PROCESSORS))
def test_checkpoints_load_and_evaluate_from_the_command_line(
    name: str, checkpoint: Any, media: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint(name)
    assert {
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "processor_config.json",
        "tokenizer.json",
        "chat_template.jinja",
    } <= {f.name for f in folder.iterdir()}
    model, processor = autotc.load(str(folder))
    built: Any = FAMILIES[name].build()
    saved, own = model.state_dict(), built.state_dict()
    assert saved.keys() == own.keys()
    assert all(torch.equal(saved[key], own[key]) for key in own)
    adapter = find_adapter(model)
    data = data_file(media, adapter.locations, tmp_path)
    policy = tmp_path / "policy.yaml"
    policy.write_text(yaml.safe_dump({"version": 1, "stages": stacked(adapter.locations)}))
    capsys.readouterr()
    assert cli.main(["eval", str(policy), "--model", str(folder), "--data", str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["samples"] == dict.fromkeys(adapter.locations, 3)
    assert 0.2 < found["flops_ratio"] < 1
    # Padding changes nothing, neither the answer that is forced nor the one that is generated.
    runs = [
        JsonlEvaluator(data, model, processor, batch_size=size, max_new_tokens=3)
        .run(Policy.load(policy), "search")
        .samples
        for size in (1, 8)
    ]
    for one, many in zip(*runs, strict=True):
        assert (one.id, one.answer) == (many.id, many.answer)
        assert one.log_probability == pytest.approx(many.log_probability, abs=2e-3)


def test_storage_in_bfloat16(tmp_path: Path, media: Any) -> None:
    folder = save("qwen2_5_vl", tmp_path / "model", torch.bfloat16)
    model, processor = autotc.load(str(folder))
    assert model.dtype == torch.bfloat16
    found = checkpoints.find_checkpoint(str(folder))
    elements = sum(p.numel() for p in model.parameters())
    assert weights.weight_bytes(found, None) == 2 * elements
    assert weights.weight_bytes(found, torch.float32) == 4 * elements
    evaluator = JsonlEvaluator(data_file(media, ["image"], tmp_path), model, processor)
    assert len(evaluator.run(Policy(stages=()), "test").samples) == 3
    assert autotc.load(str(folder), dtype="float32", attn_implementation="eager")[0].dtype == torch.float32


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    import copy

    from transformers import Qwen2_5_VLForConditionalGeneration

    config = copy.deepcopy(FAMILIES["qwen2_5_vl"].build().config)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
    tied = Qwen2_5_VLForConditionalGeneration(config).eval()
    tied.save_pretrained(tmp_path, max_shard_size="60KB")
    PROCESSORS["qwen2_5_vl"]().save_pretrained(tmp_path)
    model, _ = autotc.load(str(tmp_path))
    assert "lm_head.weight" not in json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert model.lm_head.weight is model.get_input_embeddings().weight
    inputs = FAMILIES["qwen2_5_vl"].request(FAMILIES["qwen2_5_vl"].rows[:1])
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, tied(**inputs).logits)


@pytest.mark.parametrize("written", ["Qwen2_5OmniModel", "Qwen2_5OmniForConditionalGeneration"])
def test_the_thinker_of_a_whole_omni_checkpoint(tmp_path: Path, written: str) -> None:
    from transformers import Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration

    from autotc.tiny.config import build_config, build_processor

    config = Qwen2_5OmniConfig(thinker_config=build_config().to_dict(), enable_audio_output=False)
    torch.manual_seed(0)
    whole = Qwen2_5OmniForConditionalGeneration(config)
    whole.save_pretrained(tmp_path, max_shard_size="2MB")
    build_processor().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "architectures": [written]}))
    found = checkpoints.find_checkpoint(str(tmp_path))
    assert found.bound.architecture == "Qwen2_5OmniThinkerForConditionalGeneration"
    model, _ = autotc.load(str(tmp_path))
    assert weights.weight_bytes(found, None) == sum(4 * p.numel() for p in model.parameters())
    own = whole.thinker.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in model.state_dict().items())
    autotc.apply(model, Policy.model_validate({"version": 1, "stages": stacked(["image"])})).remove()


def without(*names: str) -> Any:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def rewritten(name: str, **values: Any) -> Any:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def cut(folder: Path) -> None:
    path = folder / "model-00002-of-00011.safetensors"
    path.write_bytes(path.read_bytes()[:-5000])


@pytest.mark.parametrize(
    ("change", "options", "parts"),
    [
        (without("config.json"), {}, ["has no config.json"]),
        (without("model.safetensors.index.json"), {}, ["has no weights", "model.safetensors"]),
        (without("model-00002-of-00011.safetensors"), {}, ["lacks model-00002-of-00011.safetensors"]),
        (cut, {}, ["model-00002-of-00011.safetensors is cut short"]),
        (without("processor_config.json"), {}, ["has no", "processor", "beside the weights"]),
        (without("tokenizer.json"), {}, ["has no", "tokenizer"]),
        (without("chat_template.jinja"), {}, ["has no chat template"]),
        (rewritten("config.json", architectures=["BertModel"]), {}, ["BertModel", "supported: Llava", "A new family"]),
        (rewritten("config.json", model_type="strange"), {}, ["transformers does not know", "llava_next", "A new"]),
        (None, {"dtype": "int3"}, ["dtype: 'int3'", "bfloat16"]),
        (None, {"device_map": "tpu:9"}, ["device_map: 'tpu:9'", "cuda:1"]),
        (None, {"attn_implementation": "fancy"}, ["attn_implementation: 'fancy'", "sdpa and eager"]),
        (None, {"attn_implementation": "flash_attention_2"}, ["attn_implementation: 'flash_attention_2'", "sdpa"]),
    ],
)
def test_what_cannot_be_loaded_is_told_in_one_line(
    checkpoint: Any, tmp_path: Path, change: Any, options: dict[str, Any], parts: list[str]
) -> None:
    folder = checkpoint("llava")
    if change is not None:
        folder = Path(shutil.copytree(folder, tmp_path / "copy"))
        change(folder)
    with pytest.raises(AutotcError) as caught:
        autotc.load(str(folder), **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1200
    for part in parts:
        assert part in message


def test_a_model_larger_than_memory(checkpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(checkpoint("llava"))
    assert (devices.free_bytes("cpu") or 0) > 1e8
    needed = weights.weight_bytes(checkpoints.find_checkpoint(folder), None) or 0
    monkeypatch.setattr(weights, "free_bytes", lambda where: needed)
    autotc.load(folder)
    monkeypatch.setattr(weights, "free_bytes", lambda where: needed - 1)
    with pytest.raises(DataError, match=r"its weights take 0\.0 GB as float32 and cpu has .* GB free.*--device-map"):
        autotc.load(folder)
    autotc.load(folder, dtype="bfloat16")


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does for what may not be read, or is not there."""

    def do_HEAD(self) -> None:
        gated = "gated" in self.path
        self.send_response(403 if gated else 401)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    from huggingface_hub import constants

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    yield
    server.shutdown()


@pytest.mark.parametrize(
    ("name", "part"), [("some/gated", "is gated: accept its terms"), ("some/missing", "nor a name")]
)
def test_names_that_the_hub_refuses(hub: None, name: str, part: str) -> None:
    with pytest.raises(DataError, match=part):
        autotc.load(name)


def test_names_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"model: some/model is not in the cache"):
        autotc.load("some/model")


def test_options_of_a_checkpoint_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "none", "--revision", "x"]) == 2
    assert "--revision: given without --model" in capsys.readouterr().err
    assert cli.main(["eval", "none", "--model", "qwen2.5-vl-7b"]) == 2
    assert "a shape known by name, without weights" in capsys.readouterr().err


def test_data_of_a_modality_that_the_model_does_not_take(
    checkpoint: Any, media: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data_file(media, ["video"], tmp_path)
    assert cli.main(["eval", "none", "--model", str(checkpoint("llava")), "--data", str(data)]) == 2
    assert "line 1: video: given; LlavaForConditionalGeneration takes image" in capsys.readouterr().err
