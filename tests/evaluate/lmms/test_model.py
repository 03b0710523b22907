"""autotc inside lmms-eval: `--model autotc`."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from autotc.errors import DataError, PolicyError
from autotc.evaluate.lmms import EMBEDDED
from autotc.evaluate.lmms.evaluator import LmmsEvaluator
from autotc.evaluate.lmms.loading import load_tasks
from autotc.policy import Policy, Stage

from .tasks import rows, write

POLICY = Policy.of(
    Stage(modality=m, location="projector", mechanism="divprune", keep_ratio=0.4)  # type: ignore[arg-type]
    for m in ("image", "video", "audio")
)
INPUT = Policy.of([Stage(modality="image", location="input", mechanism="downsample", keep_ratio=0.5)])
ACC = [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}]


def evaluate(model: Any, task: str, folder: Path, limit: int = 8, **more: Any) -> dict[str, Any]:
    """As ``python -m lmms_eval`` does it."""
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    manager = TaskManager("ERROR", include_path=str(folder), include_defaults=False)
    found: dict[str, Any] = simple_evaluate(
        model, tasks=[task], task_manager=manager, limit=limit, bootstrap_iters=0, verbosity="ERROR", **more
    )
    return found


def saved(policy: Policy, path: Path) -> str:
    policy.save(path)
    return str(path)


def test_the_entry_point_is_this_model() -> None:
    (entry,) = importlib.metadata.entry_points(group="lmms_eval.models", name="autotc")
    manifest = entry.load()()
    assert manifest.model_id == "autotc"
    from lmms_eval.models import get_model

    assert get_model("autotc").is_simple is False
    assert get_model("autotc", force_simple=True).is_simple is True


@pytest.mark.parametrize("simple", [False, True], ids=["chat", "simple"])
@pytest.mark.parametrize("policy", [POLICY, INPUT], ids=["projector", "input"])
def test_same_answers_as_the_evaluator(tmp_path: Path, policy: Policy, simple: bool) -> None:
    from autotc.evaluate.lmms.model import ChatModel, SimpleModel

    path = saved(policy, tmp_path / "x.yaml")
    model = (SimpleModel if simple else ChatModel)(policy=path, batch_size=4)
    evaluator = LmmsEvaluator(["tiny_omni_image", "tiny_omni_video"], model._model, model.processor)
    # The evaluator takes a split; here the task's first documents are asked for.
    evaluator._indices = {"test": {name: list(range(8)) for name in ("tiny_omni_image", "tiny_omni_video")}}  # type: ignore[dict-item]
    mine = {s.id: s for s in evaluator.run(policy, "test").samples}
    for task in ("tiny_omni_image", "tiny_omni_video"):
        found = evaluate(model, task, EMBEDDED)
        for sample in found["samples"][task]:
            expected = mine[f"{task}/{sample['doc_id']}"]
            assert sample["filtered_resps"][0] == expected.answer
            assert sample["accuracy"] == expected.correct
            assert sample["token_counts"][0]["input_tokens"] > (64 if policy is POLICY else 32)
        # lmms-eval cleans the model up after each evaluation; the next task needed it again.
        assert found["results"][task]["accuracy,none"] == sum(s["accuracy"] for s in found["samples"][task]) / 8


def test_multiple_choice_is_scored_as_the_evaluator_scores_it(tmp_path: Path) -> None:
    from autotc.evaluate.lmms.model import SimpleModel

    documents = [dict(row, answer=i % 4, question=f"count digits {i}") for i, row in enumerate(rows(12))]
    choices = ["red", "2", "4 4", "left"]
    write(tmp_path, "choose", documents, output_type="multiple_choice", doc_to_choice=choices, metric_list=ACC)
    model = SimpleModel(batch_size=3)
    evaluator = LmmsEvaluator(load_tasks(["choose"], tmp_path), model._model, model.processor)
    found = evaluate(model, "choose", tmp_path, limit=12)["samples"]["choose"]
    scores = {f"choose/{sample['doc_id']}": sample["acc"] for sample in found}
    assert 0 < sum(scores.values()) < 12
    for split in ("search", "val", "test"):
        for result in evaluator.run(Policy(), split).samples:  # type: ignore[arg-type]
            assert result.correct == scores[result.id]


def test_cached_answers_are_those_of_the_policy(tmp_path: Path) -> None:
    """The file's path stays, what it holds changes: its answers are asked for again."""
    from lmms_eval.caching.response_cache import ResponseCache

    from autotc.evaluate.lmms.model import ChatModel

    path = tmp_path / "x.yaml"
    prints = []
    for policy in (POLICY, INPUT, POLICY):
        model = ChatModel(policy=saved(policy, path))
        assert policy.content_hash() in repr(model)
        cache = ResponseCache.create(str(tmp_path / "cache"), model="autotc", model_args=f"policy={path}", task_dict={})
        prints.append(cache._model_fingerprint_hash)
    assert prints[0] == prints[2] != prints[1]


def test_several_rounds_and_templates_are_refused(tmp_path: Path) -> None:
    from autotc.evaluate.lmms.model import ChatModel

    model = ChatModel()
    write(
        tmp_path,
        "rounds",
        rows(4),
        output_type="generate_until_multi_round",
        process_results="!number",
        metric_list=ACC,
    )
    with pytest.raises(DataError, match="rounds: asks in several rounds"):
        evaluate(model, "rounds", tmp_path)
    with pytest.raises(DataError, match="--apply_chat_template"):
        model.apply_chat_template([])


def test_what_is_wrong_is_told_in_one_line(tmp_path: Path) -> None:
    from autotc.evaluate.lmms.model import ChatModel

    deep = Policy.of([Stage(modality="image", location="decoder", mechanism="fastv", layer=9, keep_ratio=0.5)])
    cases: list[tuple[type[Exception], dict[str, Any], str]] = [
        (DataError, {"pretrained": str(tmp_path / "nothing")}, "model: .*nothing cannot be loaded"),
        (PolicyError, {"policy": "nowhere.yaml"}, "nowhere.yaml: no such file"),
        (PolicyError, {"policy": saved(deep, tmp_path / "deep.yaml")}, "layers 0 to 5"),
        (DataError, {"batch_size": "auto"}, "batch_size: 'auto'"),
    ]
    for error, arguments, match in cases:
        with pytest.raises(error, match=match) as caught:
            ChatModel(**arguments)
        assert "\n" not in str(caught.value)


def test_tasks_that_the_policy_does_not_touch_are_named(tmp_path: Path) -> None:
    from loguru import logger

    from autotc.evaluate.lmms.model import ChatModel

    model, said = ChatModel(policy=saved(INPUT, tmp_path / "x.yaml"), batch_size=2), []
    sink = logger.add(said.append, level="WARNING", format="{message}")
    try:
        evaluate(model, "tiny_omni_audio", EMBEDDED, limit=4)
    finally:
        logger.remove(sink)
    (line,) = [str(line).strip() for line in said if "policy" in str(line)]
    assert line == "tiny_omni_audio: the policy has no stage for audio; its samples run uncompressed"


# --- every family's own processor ---

WORDS = ["<pad>", "<s>", "user", "says", "turn", "<unk>", "answer"]
SPECIAL = {7: "<start>", 8: "<stop>", 9: "<image>", 10: "<video>"}
TEMPLATE = (
    "{% for m in messages %}user says {% for part in m.content %}{% if part.type == 'text' %}{{ part.text }} "
    "{% else %}MEDIA {% endif %}{% endfor %}turn {% endfor %}{% if add_generation_prompt %}answer{% endif %}"
)


def tokenizer(names: dict[int, str], **more: Any) -> Any:
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    vocabulary = {**{w: i for i, w in enumerate(WORDS)}, **{name: i for i, name in names.items()}}
    vocabulary |= {f"w{i}": i for i in range(64) if i not in vocabulary.values()}
    inner = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()
    inner.add_special_tokens([AddedToken(name) for name in names.values()])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", eos_token="w63", padding_side="right", **more
    )


def llava_processor() -> Any:
    from transformers import CLIPImageProcessor, LlavaProcessor

    images = CLIPImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 40, "width": 40})
    return LlavaProcessor(
        images,
        tokenizer(SPECIAL),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=TEMPLATE.replace("MEDIA", "<image>"),
    )


def qwen_processor(name: str) -> Any:
    import transformers

    names = {7: "<|vision_start|>", 8: "<|vision_end|>", 9: "<|image_pad|>", 10: "<|video_pad|>"}
    sizes = {
        "patch_size": 4,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 64, "longest_edge": 1024},
    }
    template = TEMPLATE.replace("MEDIA", "<|vision_start|> <|{{ part.type }}_pad|> <|vision_end|>")
    return getattr(transformers, name)(
        transformers.Qwen2VLImageProcessor(**sizes),
        tokenizer(names),
        transformers.Qwen2VLVideoProcessor(**sizes),
        chat_template=template,
    )


def gemma_processor() -> Any:
    from transformers import Gemma3ImageProcessor, Gemma3Processor

    marks = {"boi_token": "<start>", "eoi_token": "<stop>", "image_token": "<image>"}
    words = tokenizer({7: "<start>", 8: "<stop>", 9: "<image>"}, extra_special_tokens=marks)
    images = Gemma3ImageProcessor(size={"height": 32, "width": 32})
    return Gemma3Processor(images, words, image_seq_length=16, chat_template=TEMPLATE.replace("MEDIA", " <start> "))


def audio_processor() -> Any:
    from transformers import Qwen2AudioProcessor, WhisperFeatureExtractor

    names = {7: "<|audio_bos|>", 8: "<|audio_eos|>", 9: "<|AUDIO|>"}
    extractor = WhisperFeatureExtractor(feature_size=8, sampling_rate=1600, hop_length=100, chunk_length=3, n_fft=400)
    template = TEMPLATE.replace("MEDIA", "<|audio_bos|> <|AUDIO|> <|audio_eos|>")
    return Qwen2AudioProcessor(extractor, tokenizer(names), chat_template=template)


def internvl_processor() -> Any:
    from transformers import GotOcr2ImageProcessor, InternVLProcessor, InternVLVideoProcessor

    size = {"height": 24, "width": 24}
    marks = {
        "start_image_token": "<start>",
        "end_image_token": "<stop>",
        "context_image_token": "<image>",
        "video_token": "<video>",
    }
    images = GotOcr2ImageProcessor(size=size, crop_to_patches=True, min_patches=1, max_patches=3)
    return InternVLProcessor(
        images,
        tokenizer(SPECIAL, extra_special_tokens=marks),
        InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=TEMPLATE.replace("MEDIA", "<image>"),
    )


TILES = [[24, 48], [48, 24], [48, 48], [24, 72]]


def tiled_processor(name: str) -> Any:
    import transformers

    size = {"height": 24, "width": 24}
    shared: dict[str, Any] = {"patch_size": 6, "vision_feature_select_strategy": "default", "image_token": "<image>"}
    template = TEMPLATE.replace("MEDIA", "<image>")
    if name == "LlavaNext":
        images = transformers.LlavaNextImageProcessor(
            size={"shortest_edge": 24}, crop_size=size, image_grid_pinpoints=TILES
        )
        return transformers.LlavaNextProcessor(
            images, tokenizer(SPECIAL), num_additional_image_tokens=1, chat_template=template, **shared
        )
    images = transformers.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=TILES)
    videos = transformers.LlavaOnevisionVideoProcessor(size=size)
    return transformers.LlavaOnevisionProcessor(
        images,
        tokenizer(SPECIAL),
        videos,
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        image_token="<image>",
        video_token="<video>",
        vision_aspect_ratio="anyres_max_2",
        chat_template=TEMPLATE.replace("MEDIA", "<{{ part.type }}>"),
    )


PROCESSORS = {
    "llava": llava_processor,
    "llava_next": lambda: tiled_processor("LlavaNext"),
    "llava_onevision": lambda: tiled_processor("LlavaOnevision"),
    "qwen2_vl": lambda: qwen_processor("Qwen2VLProcessor"),
    "qwen2_5_vl": lambda: qwen_processor("Qwen2_5_VLProcessor"),
    "qwen3_vl": lambda: qwen_processor("Qwen3VLProcessor"),
    "gemma3": gemma_processor,
    "internvl": internvl_processor,
    "qwen2_audio": audio_processor,
}


VIDEOS = ("llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl")
SHOWS = {"image": "!doc_to_visual", "video": "!film", "audio": "!sound"}


@pytest.mark.parametrize(
    ("name", "modality"),
    [(name, "audio" if "audio" in name else "image") for name in sorted(PROCESSORS)] + [(n, "video") for n in VIDEOS],
)
def test_families_answer_from_a_checkpoints_folder(name: str, modality: Any, tmp_path: Path) -> None:
    """A local folder in the hub's layout, its own processor and template; compressed and batched answers are those of
    `generate()` on one request."""
    import autotc
    from autotc.evaluate.lmms.model import ChatModel
    from tests.models.families import FAMILIES

    processor = PROCESSORS[name]()
    folder = tmp_path / "model"
    FAMILIES[name].build().save_pretrained(folder)
    processor.save_pretrained(folder)
    policy = Policy.of([Stage(modality=modality, location="projector", mechanism="divprune", keep_ratio=0.5)])
    documents = [dict(row, question="w30 w31 " * (1 + i % 2)) for i, row in enumerate(rows(6))]
    write(
        tmp_path,
        "pictures",
        documents,
        process_results="!number",
        metric_list=ACC,
        generation_kwargs={"max_new_tokens": 4},
        doc_to_visual=SHOWS[modality],
    )
    model = ChatModel(str(folder), saved(policy, tmp_path / "x.yaml"), batch_size=3)
    found = evaluate(model, "pictures", tmp_path, limit=6)["samples"]["pictures"]
    evaluator = LmmsEvaluator(load_tasks(["pictures"], tmp_path), model._model, model.processor, batch_size=2)
    mine = [s for split in ("search", "val", "test") for s in evaluator.run(policy, split).samples]  # type: ignore[arg-type]
    said = {f"pictures/{sample['doc_id']}": sample["filtered_resps"][0] for sample in found}
    assert {s.id: s.answer for s in mine} == said
    with autotc.apply(model._model, policy), torch.no_grad():
        for task in evaluator._tasks:
            for i in range(6):
                inputs = model._inputs([task.prompt(i, model._reading)])
                ids = model._model.generate(**inputs, max_new_tokens=4, do_sample=False)
                text = model.processor.tokenizer.decode(
                    ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
                )
                assert said[task.id(i)] == text.strip()
