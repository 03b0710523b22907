"""Rows with several media, turns and a system prompt, through every family's own processor to results."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from autotc.errors import DataError
from autotc.evaluate.engines.answering import MetricScorer
from autotc.evaluate.engines.server import messages
from autotc.evaluate.jsonl import JsonlEvaluator
from autotc.evaluate.metrics import METRICS
from autotc.evaluate.model import ModelEvaluator
from autotc.models import bind
from autotc.policy import UNCOMPRESSED, Policy, Stage

from ..models.checkpoints import PROCESSORS
from ..models.families import FAMILIES

ENDINGS = {"images": "png", "audio": "wav"}


def media(folder: Path, count: int) -> None:
    """Pictures of different sizes, and clips of different lengths."""
    rng = np.random.default_rng(0)
    for i in range(count):
        pixels = rng.integers(0, 255, (40, 30 + 7 * i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        soundfile.write(folder / f"{i}.wav", rng.normal(size=12_000 + 300 * i) / 5, 16_000)


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def conversations(folder: Path, kind: str) -> Path:
    """Six pairs of media, each asked about twice after a turn, and six single ones."""
    media(folder, 12)
    rows: list[dict[str, Any]] = []
    for i in range(0, 12, 2):
        names = [f"{j}.{ENDINGS[kind]}" for j in (i, i + 1)]
        questions = [
            {"prompt": "which digit is red", "answer": ["9", "red"]},
            {"prompt": "what colour", "answer": "3 3"},
        ]
        turns = [{"user": "what is said", "assistant": "here blue"}]
        rows.append({"id": f"q{i}", kind: names, "system": "the digit", "turns": turns, "questions": questions})
        rows.append({"id": f"s{i}", kind: names[:1], "prompt": "which colour is here", "answer": "red"})
    return written(folder, rows)


def made(name: str, path: Path, batch_size: int) -> JsonlEvaluator:
    return JsonlEvaluator(path, FAMILIES[name].build(), PROCESSORS[name](), batch_size=batch_size, max_new_tokens=2)


def words(evaluator: ModelEvaluator, ids: Any) -> str:
    return str(evaluator.processor.tokenizer.decode(ids, skip_special_tokens=True)).strip()


@pytest.mark.parametrize("name", PROCESSORS)
def test_several_media_turns_and_a_system_prompt(name: str, tmp_path: Path) -> None:
    modality = next(iter(bind(FAMILIES[name].build()).offers))
    path = conversations(tmp_path, {"image": "images"}.get(modality, modality))
    batched, alone = made(name, path, 4), made(name, path, 1)
    samples = list(batched.samples("test"))
    inputs = batched.request(UNCOMPRESSED, "test", modality, len(samples))
    query = bind(batched.loaded).query_mask(inputs["input_ids"], inputs["attention_mask"])
    for sample, ids, asked in zip(samples, inputs["input_ids"], query, strict=True):
        # The query is the last question: not the turn before it, not the system prompt, which the model reads too.
        assert words(batched, ids[asked]) == sample.prompt
        before = "the digit what is said here blue " if sample.turns else ""
        assert " ".join(words(batched, ids[ids >= 20]).split()) == before + sample.prompt
        assert len(next(iter(sample.media().values()))) == (2 if sample.turns else 1)
    results = batched.run(UNCOMPRESSED, "test").samples
    assert [(r.id, r.answer) for r in results] == [(r.id, r.answer) for r in alone.run(UNCOMPRESSED, "test").samples]
    assert [r.cluster for r in results] == [sample.cluster for sample in samples]
    assert len({r.cluster for r in results if r.id.startswith("q")}) == len(results) // 3
    stage = Stage(modality=modality, location="projector", mechanism="divprune", keep_ratio=0.5)
    policy = Policy.of([stage])
    assert len(batched.run(policy, "test")) == len(samples)
    assert batched.cost(policy, "test").flops_ratio < 1


def sideways(path: Path, pixels: Any) -> None:
    """A video whose file says that a quarter turn to the right makes it upright."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
        for frame in [pixels] * 10:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # the matrix of the track's header, ISO/IEC 14496-12
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def test_media_of_the_kinds_that_cameras_and_telephones_make(tmp_path: Path) -> None:
    """A JPEG and an mp4 that lie on their side, sound of two channels at 44.1 kHz."""
    rows: list[dict[str, Any]] = []
    for i in range(3):
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter turn to the right makes it upright
        pixels = np.zeros((64, 96, 3), np.uint8)
        pixels[:, :48] = 255 - i
        Image.fromarray(pixels).save(tmp_path / f"{i}.jpg", exif=exif, quality=95)
        sideways(tmp_path / f"{i}.mp4", pixels)
        wave = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100) * (1 - i / 100)
        soundfile.write(tmp_path / f"{i}.wav", np.stack([wave, np.zeros_like(wave)], 1), 44_100)
        for kind, ending in (("images", "jpg"), ("video", "mp4"), ("audio", "wav")):
            rows.append({"id": f"{kind}{i}", kind: f"{i}.{ending}", "prompt": "count digits", "answer": "2"})
    evaluator = JsonlEvaluator(written(tmp_path, rows), max_new_tokens=2)
    by_group = {sample.group: sample.media() for sample in evaluator.samples("test")}
    image, video, sound = (by_group[group] for group in ("image", "video", "audio"))
    (picture,) = image["images"]
    assert picture.shape == (96, 64, 3)
    (frames,) = video["videos"]
    assert frames.shape == (10, 96, 64, 3)
    for upright in (picture, *frames):
        assert upright[:40].min() > 235
        assert upright[-40:].max() < 20
    (heard,) = sound["audio"]
    rate = evaluator.processor.feature_extractor.sampling_rate
    assert len(heard) == rate
    assert np.abs(np.fft.rfft(heard)).argmax() == 440
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.05)  # the mean of both channels
    assert len(evaluator.run(UNCOMPRESSED, "test")) == 3


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}", "no system"),
        (
            "{% for m in messages if m.role != 'system' %}{{ m.content[-1].text }} {% endfor %}",
            "system: 'be brief' is left",
        ),
    ],
)
def test_a_template_that_knows_no_system_prompt(tmp_path: Path, template: str, message: str) -> None:
    media(tmp_path, 3)
    rows = [{"id": str(i), "images": f"{i}.png", "prompt": "which digit", "answer": "3"} for i in range(3)]
    rows[1]["system"] = "be brief"
    processor = PROCESSORS["llava"]()
    processor.chat_template = template
    with pytest.raises(DataError, match=r"data\.jsonl: line 2: ") as caught:
        JsonlEvaluator(written(tmp_path, rows), FAMILIES["llava"].build(), processor)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_placeholder_in_an_earlier_turn(tmp_path: Path) -> None:
    media(tmp_path, 3)
    rows = [{"id": str(i), "images": f"{i}.png", "prompt": "which digit", "answer": "3"} for i in range(3)]
    rows[1] |= {"turns": [{"user": "what is <image>", "assistant": "red"}]}  # type: ignore[dict-item]
    with pytest.raises(DataError, match="line 2: user: holds '<image>', which the model takes for a medium"):
        JsonlEvaluator(written(tmp_path, rows), FAMILIES["llava"].build(), PROCESSORS["llava"]())


def test_the_best_of_several_answers_and_a_row_s_own_metric_count(tmp_path: Path) -> None:
    """Every answer that the model can give is among the right ones of the first row of each pair."""
    media(tmp_path, 9)
    rows = [{"id": str(i), "images": f"{i}.png", "prompt": "count digits", "answer": "none"} for i in range(9)]
    said = {s.id: s.answer for s in _results(tmp_path, rows)}
    for row in rows:
        row |= {"answer": ["none", said[row["id"]]]}  # type: ignore[dict-item]
    assert [s.correct for s in _results(tmp_path, rows)] == [1.0] * 9
    first = _results(tmp_path, [{**row, "answer": "none"} for row in rows])
    assert [s.log_probability for s in _results(tmp_path, rows)] == [s.log_probability for s in first]
    for row in rows:
        row |= {"metric": "vqa"}  # one of two said so, and the other did not: half
    assert [s.correct for s in _results(tmp_path, rows)] == [0.5] * 9


def _results(folder: Path, rows: list[dict[str, Any]]) -> list[Any]:
    evaluator = JsonlEvaluator(written(folder, rows), max_new_tokens=2)
    return [s for split in ("search", "val", "test") for s in evaluator.run(UNCOMPRESSED, split).samples]


def test_what_is_asked_and_right_is_part_of_what_a_split_holds(tmp_path: Path) -> None:
    media(tmp_path, 3)
    rows = [{"id": str(i), "images": f"{i}.png", "prompt": "count digits", "answer": "3"} for i in range(3)]
    changes: list[dict[str, Any]] = [
        {},
        {"system": "be brief"},
        {"turns": [{"user": "what", "assistant": "red"}]},
        {"answer": ["3", "three"]},
        {"metric": "anls"},
    ]
    found = set()
    for change in changes:
        evaluator = JsonlEvaluator(written(tmp_path, [{**row, **change} for row in rows]))
        found.add(evaluator.info("test").sha256)
    assert len(found) == len(changes)


def test_engines_are_asked_and_scored_alike(tmp_path: Path) -> None:
    evaluator = made("qwen2_5_vl", conversations(tmp_path, "images"), 4)
    sample = next(sample for sample in evaluator.samples("test") if sample.turns)
    loaded = sample.media()
    sent = messages(sample.chat(loaded), loaded)
    assert [turn["role"] for turn in sent] == ["system", "user", "assistant", "user"]
    kinds = [[part["type"] for part in turn["content"]] for turn in sent]  # type: ignore[attr-defined]
    assert kinds == [["text"], ["image_url", "image_url", "text"], ["text"], ["text"]]
    red = next(sample for sample in evaluator.samples("test") if sample.others)
    scorer = MetricScorer(METRICS["exact"], 4)
    assert [scorer.score(red, text)[0] for text in ("9", "Red", "blue")] == [1.0, 1.0, 0.0]
