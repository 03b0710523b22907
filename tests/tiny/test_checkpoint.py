"""The shipped checkpoint and speech: exactly the files that were trained and made, and what they must fit."""

from __future__ import annotations

import hashlib
from pathlib import Path

from autotc import tiny
from autotc.tiny import WEIGHTS, load
from autotc.tiny.config import build_model, build_processor

SHA256 = {
    "chat_template.jinja": "5f1cbb708e1b1662b3f4fe517afe2ab9646f40afc0ccc81bfb70cf1c29259d12",
    "config.json": "d1bc14ebf6bf283e7d4e07af25d322c347c7ce33b0b4096cfc700a1300f76405",
    "generation_config.json": "4670422ebefe379c93e119d209aa12a707d777bee3bf3e460ebece176bfbf56f",
    "model.safetensors": "ca48dd06fe625beba8d7373dc3e2bc61757eb0ac7104d289cd88dd6472aebf54",
    "processor_config.json": "0d2f14e459e0fefd134f30742d32f36193f7f647451ec66f2c3bfcd2c2898624",
    "tokenizer.json": "8f836247f0901676d0c05c9993b765d6d2ccd280f4faaf40ff0785c498c0f4e4",
    "tokenizer_config.json": "bb24991ba156b1752efe4a1a131820879c9c1c195a4c34f907ccfd95d6e660fd",
}
SPEECH_SHA256 = "a7e5ab286cb25fab77da0085e50b7f07ffd3daf02d294552f23db2ff8c31ac54"
"""Over the names and bytes of all files, in the order of the names."""


def test_shipped_files_are_those_that_were_trained_and_made() -> None:
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in WEIGHTS.iterdir()} == SHA256
    speech = hashlib.sha256()
    for path in sorted((Path(tiny.__file__).parent / "speech").iterdir()):
        speech.update(path.name.encode() + b"\0" + path.read_bytes())
    assert speech.hexdigest() == SPEECH_SHA256


def test_shipped_checkpoint_loads_and_fits() -> None:
    size = sum(path.stat().st_size for path in WEIGHTS.iterdir())
    assert size < 20 * 1024 * 1024
    model, processor = load()
    count = sum(p.numel() for p in model.parameters())
    assert 2e6 <= count <= 8e6
    assert model.config.text_config.num_hidden_layers >= 6
    fresh = build_model()
    assert {k: v.shape for k, v in fresh.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert processor.tokenizer.get_vocab() == build_processor().tokenizer.get_vocab()
