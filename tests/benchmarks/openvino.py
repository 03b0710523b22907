"""Does OpenVINO GenAI keep as many tokens as a policy says, at the settings that `autotc export` printed?

A tiny Qwen2-VL and a tiny Qwen2.5-VL with random weights are saved with a processor and a tokenizer of their own,
exported by optimum-cli and run by `VLMPipeline` on images of several sizes, one by one and together. The length of the
prompt that the pipeline reports, beside its length without pruning, tells how many image tokens reached the language
model.

Then, for one image, whether it keeps the same tokens: autotc's `cdpruner`, given the text that the engine reads (all of
the prompt but the image) and the positions that it leaves (text behind an image starts behind its last kept position),
picks tokens, and transformers continues the prompt that is left; the engine's answer of 24 tokens is compared with it.
The engine runs without bfloat16 for that, whose rounding decides between tokens that are nearly as good.

The engine and what exports to it need other versions than autotc does, so they have an environment of their own:

    python -m venv ov && ov/bin/pip install openvino-genai==2026.4.1.0 openvino-tokenizers==2026.4.1.0 \
        optimum-intel==2.2.0 nncf==3.4.0 'transformers<5' torch torchvision pillow
    python tests/benchmarks/openvino.py --engine ov/bin/python --out tests/benchmarks/results/openvino.json

About three minutes on two cores; nothing is downloaded once both environments are there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

KEEPS = (0.9, 0.75, 0.5, 0.45, 1 / 3, 0.25, 0.1)
IMAGES = ((280, 336), (140, 140), (252, 476))
"""Height and width in pixels; a token stands for 28 x 28 of them."""
FAMILIES = {"qwen2_vl": "Qwen2VLForConditionalGeneration", "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration"}
VIDEO_FAMILY = ("qwen3_vl", "Qwen3VLForConditionalGeneration")
FRAMES = ((4, 256, 320), (6, 320, 384))
"""Frames, height and width in pixels of videos; a token of Qwen3-VL stands for 32 x 32 of them and two frames."""
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% elif part['type'] == 'video' %}{{ '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rope_theta": 1e6,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
}
"""Sizes of the language model."""
QUESTION = "What is on the picture?"
ANSWER = 24
"""Tokens of an answer that is compared."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, help="python of the engine's environment")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job is not None:
        run_job(args.job)
        return
    if args.engine is None:
        parser.error("--engine is needed: python of an environment with openvino-genai and optimum-intel")
    found = measure(args.engine)
    lines = [f' "versions": {json.dumps(found["versions"])}']
    for key in ("counts", "videos", "answers"):
        lines.append(f' "{key}": [\n  ' + ",\n  ".join(json.dumps(row) for row in found[key]) + "\n ]")
    text = "{\n" + ",\n".join(lines) + "\n}"
    if args.out is not None:
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    requests = [*found["counts"], *found["videos"]]
    wrong = [row for row in requests if row["kept"] != row["policy"]]
    same = sum(row["same"] for row in found["answers"])
    print(f"{len(requests)} requests, {len(wrong)} with another count than the policy's", file=sys.stderr)
    print(f"{same} of {len(found['answers'])} answers are the same", file=sys.stderr)
    sys.exit(bool(wrong))


def measure(engine: Path) -> dict[str, Any]:
    """Export each ratio, run the engine on it in its own environment, and set its counts beside the policy's."""
    from autotc.export import Target, get_engine, plan_export
    from autotc.policy import ModelReference, Policy, Stage

    rows: list[Any] = []
    answers: list[Any] = []
    videos = measure_videos(engine)
    versions: dict[str, str] = {}
    for family, architecture in FAMILIES.items():
        plans = []
        for keep in KEEPS:
            stage = Stage(modality="image", location="projector", layer=None, mechanism="cdpruner", keep_ratio=keep)
            policy = Policy(stages=(stage,), model=ModelReference(architecture=architecture))
            plans.append(plan_export(policy, get_engine("openvino")))
        shown = [vars(plan.engine.render(plan.deployed, Target("MODEL"))) for plan in plans]
        with tempfile.TemporaryDirectory() as folder:
            result = run_engine(engine, Path(folder), family, shown)
            answers += [
                {"model": family, **config, "same": answer == expected}
                for config, answer, expected in zip(
                    result["configs"],
                    result["answers"],
                    continued(Path(folder), [p.deployed for p in plans]),
                    strict=True,
                )
            ]
        versions = result["versions"]
        for keep, plan, deployment, lengths in zip(KEEPS, plans, shown, result["lengths"], strict=True):
            (stage,) = plan.deployed.stages
            for images, length, whole in zip(result["images"], lengths, result["whole"], strict=True):
                counts = [height // 28 * (width // 28) for height, width in images]
                grids = [(1, height // 28, width // 28) for height, width in images]
                rule, ratio = stage.build().target, stage.final_ratio
                rows.append(
                    {
                        "model": family,
                        "keep_ratio": round(keep, 6),
                        **deployment["config"],
                        "images": images,
                        "uncompressed": sum(counts),
                        "policy": sum(rule(ratio, n, n, grid) for n, grid in zip(counts, grids, strict=True)),
                        "kept": length - (whole - sum(counts)),
                    }
                )
    return {"versions": versions, "counts": rows, "videos": videos, "answers": answers}


def run_engine(engine: Path, folder: Path, family: str, shown: list[dict[str, Any]]) -> dict[str, Any]:
    """What the engine's environment found of a family at settings as `autotc export` shows them."""
    job = folder / "job.json"
    job.write_text(json.dumps({"family": family, "configs": [deployment["config"] for deployment in shown]}))
    environment = {**os.environ, **shown[0]["environment"], "HF_HUB_OFFLINE": "1", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    environment.pop("PYTHONPATH", None)
    # -P: this file's name must not stand in for the package.
    subprocess.run([engine, "-P", Path(__file__), "--job", job], check=True, env=environment, stdout=sys.stderr)
    found: dict[str, Any] = json.loads(job.read_text())
    return found


def measure_videos(engine: Path) -> list[dict[str, Any]]:
    """Counts of videos of Qwen3-VL, which the engine takes as they are, and the policy's."""
    from autotc.export import Target, get_engine, plan_export
    from autotc.policy import ModelReference, Policy, Stage

    family, architecture = VIDEO_FAMILY
    stages = [
        Stage(modality="video", location="projector", layer=None, mechanism="cdpruner", keep_ratio=keep)
        for keep in KEEPS
    ]
    plans = [
        plan_export(Policy(stages=(stage,), model=ModelReference(architecture=architecture)), get_engine("openvino"))
        for stage in stages
    ]
    shown = [vars(plan.engine.render(plan.deployed, Target("MODEL"))) for plan in plans]
    with tempfile.TemporaryDirectory() as folder:
        result = run_engine(engine, Path(folder), family, shown)
    rows = []
    for keep, plan, config, lengths in zip(KEEPS, plans, result["configs"], result["lengths"], strict=True):
        (stage,) = plan.deployed.stages
        for (frames, height, width), length, whole in zip(FRAMES, lengths, result["whole"], strict=True):
            grid = (frames // 2, height // 32, width // 32)
            count = grid[0] * grid[1] * grid[2]
            row = {"model": family, "keep_ratio": round(keep, 6), **config, "video": [frames, height, width]}
            row |= {"uncompressed": count, "policy": stage.build().target(stage.final_ratio, count, count, grid)}
            rows.append({**row, "kept": length - (whole - count)})
    return rows


def continued(folder: Path, policies: list[Any]) -> list[str]:
    """What transformers answers on the tokens that `cdpruner` keeps of the first image, one answer for each policy."""
    import numpy as np
    import torch
    import transformers
    from PIL import Image

    from autotc.mechanisms import Tokens

    source = folder / "model"
    model = transformers.AutoModelForImageTextToText.from_pretrained(source, dtype="float32").eval()
    processor = transformers.AutoProcessor.from_pretrained(source)
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    text = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[text], images=[Image.fromarray(np.load(folder / "image.npy")[0])], return_tensors="pt")
    ids, config = inputs["input_ids"][0], model.config
    _, height, width = (int(n) for n in inputs["image_grid_thw"][0] // torch.tensor([1, 2, 2]))
    n = height * width
    place = torch.arange(n)
    places = torch.stack([torch.zeros(n, dtype=torch.long), place // width, place % width], 1)
    with torch.no_grad():
        features = model.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"]).pooler_output
        features = torch.cat(list(features))
        embedded = model.get_input_embeddings()(ids)
        marks = torch.tensor([config.image_token_id, config.vision_start_token_id, config.vision_end_token_id])
        words = embedded[~torch.isin(ids, marks)].mean(0, keepdim=True)
    relevance = torch.nn.functional.cosine_similarity(features, words)[None]
    valid = torch.ones(1, n, dtype=torch.bool)
    tokens = Tokens(features[None], valid, places[None], torch.zeros(1, n, 6), torch.ones(1, n))
    answers = []
    for policy in policies:
        (stage,) = policy.stages
        mechanism = stage.build()
        count = mechanism.target(stage.final_ratio, n, n, (1, height, width))
        kept = mechanism.reduce(tokens, torch.tensor([count]), {"text_similarity": relevance}).keep[0]
        first = int((ids == config.image_token_id).nonzero()[0])
        around = first + places[kept]
        behind = torch.arange(len(ids) - first - n)[:, None] + around.max() + 1
        position = torch.cat([torch.arange(first)[:, None].expand(-1, 3), around, behind.expand(-1, 3)]).T[:, None]
        sequence = torch.cat([embedded[:first], features[kept], embedded[first + n :]])[None]
        answers.append(processor.tokenizer.decode(continuation(model, sequence, position), skip_special_tokens=True))
    return answers


def continuation(model: Any, sequence: Any, position: Any) -> list[int]:
    """ANSWER token ids behind embeddings (1, L, D) at positions (3, 1, L), greedily, without a cache."""
    import torch

    ids: list[int] = []
    with torch.no_grad():
        for _ in range(ANSWER):
            hidden = model.model.language_model(
                inputs_embeds=sequence,
                position_ids=position,
                attention_mask=torch.ones(sequence.shape[:2]),
                use_cache=False,
            ).last_hidden_state
            ids.append(int(model.lm_head(hidden[0, -1]).argmax()))
            sequence = torch.cat([sequence, model.get_input_embeddings()(torch.tensor([[ids[-1]]]))], 1)
            position = torch.cat([position, position[..., -1:].amax(0, keepdim=True).expand(3, 1, 1) + 1], 2)
    return ids


# --- in the engine's environment: no autotc ---


def run_job(path: Path) -> None:
    """Make and export a model, and run the pipeline at every setting; writes the prompts' lengths back."""
    from importlib.metadata import version

    import numpy as np
    import openvino as ov
    import openvino_genai

    job = json.loads(path.read_text())
    source, exported = path.parent / "model", path.parent / "exported"
    make_model(job["family"], source)
    command = [Path(sys.executable).parent / "optimum-cli", *["export", "openvino", "--task", "image-text-to-text"]]
    command += ["--weight-format", "fp32", "--model", source, exported]
    subprocess.run(command, check=True, stdout=sys.stderr, stderr=subprocess.DEVNULL)
    pipe = openvino_genai.VLMPipeline(str(exported), "CPU", INFERENCE_PRECISION_HINT="f32")
    random = np.random.default_rng(0)
    if job["family"] == VIDEO_FAMILY[0]:
        run_videos(job, pipe, random)
        path.write_text(json.dumps(job))
        return
    pixels = {size: random.integers(0, 255, (1, *size, 3), dtype=np.uint8) for size in IMAGES}
    requests = [[size] for size in IMAGES] + [list(IMAGES)]

    def length(sizes: list[tuple[int, int]], **settings: float) -> int:
        images = [ov.Tensor(pixels[size]) for size in sizes]
        out = pipe.generate(QUESTION, images=images, max_new_tokens=1, **settings)
        return int(out.perf_metrics.get_num_input_tokens())

    job["images"] = requests
    job["whole"] = [length(sizes) for sizes in requests]
    job["lengths"] = [[length(sizes, **config) for sizes in requests] for config in job["configs"]]
    np.save(path.parent / "image.npy", pixels[IMAGES[0]])
    first = [ov.Tensor(pixels[IMAGES[0]])]
    job["answers"] = [
        pipe.generate(QUESTION, images=first, max_new_tokens=ANSWER, ignore_eos=True, **config).texts[0]
        for config in job["configs"]
    ]
    job["versions"] = {name: version(name) for name in ("openvino-genai", "optimum-intel", "transformers")}
    path.write_text(json.dumps(job))


def run_videos(job: dict[str, Any], pipe: Any, random: Any) -> None:
    """Lengths of prompts with a video at every setting, into the job."""
    import numpy as np
    import openvino as ov

    clips = [ov.Tensor(random.integers(0, 255, (*size, 3), dtype=np.uint8)) for size in FRAMES]

    def length(clip: Any, **settings: float) -> int:
        out = pipe.generate(QUESTION, videos=[clip], max_new_tokens=1, **settings)
        return int(out.perf_metrics.get_num_input_tokens())

    job["whole"] = [length(clip) for clip in clips]
    job["lengths"] = [[length(clip, **config) for clip in clips] for config in job["configs"]]


def make_tokenizer() -> Any:
    """A byte-level tokenizer without merges, with Qwen's marks."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={sign: i for i, sign in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    fast = transformers.Qwen2TokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        additional_special_tokens=list(SPECIAL),
    )
    fast.chat_template = TEMPLATE
    return fast


def make_qwen3_vl(text: dict[str, Any], tower: dict[str, Any], ids: dict[str, Any]) -> tuple[Any, Any]:
    """A Qwen3-VL of the sizes, and the class of its processor."""
    import transformers

    tower |= {"patch_size": 16, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64}
    tower |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "mrope_interleaved": True}
    config = transformers.Qwen3VLConfig(
        text_config={**text, "head_dim": 16, "rope_scaling": rope}, vision_config=tower, **ids
    )
    return transformers.Qwen3VLForConditionalGeneration(config), transformers.Qwen3VLProcessor


def make_model(family: str, folder: Path) -> None:
    """A checkpoint with random weights, its processor and tokenizer."""
    import torch
    import transformers

    fast = make_tokenizer()
    names = ("im_end", "image_pad", "video_pad", "vision_start", "vision_end")
    end, image, video, start, stop = (fast.convert_tokens_to_ids(f"<|{name}|>") for name in names)
    text = {**TEXT, "vocab_size": len(fast) + 8, "eos_token_id": end}
    tower: dict[str, Any] = {
        "depth": 2,
        "num_heads": 2,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    ids = {
        "image_token_id": image,
        "video_token_id": video,
        "vision_start_token_id": start,
        "vision_end_token_id": stop,
        "tie_word_embeddings": False,
    }
    torch.manual_seed(0)
    video_processor: Any = transformers.Qwen2VLVideoProcessor()
    image_processor: Any = transformers.Qwen2VLImageProcessor()
    if family == "qwen3_vl":
        model, processor_class = make_qwen3_vl(text, tower, ids)
        image_processor = transformers.Qwen2VLImageProcessor(patch_size=16)
        # Every frame as it is: none is left out, none is enlarged.
        size = {"shortest_edge": 64 * 64, "longest_edge": 4096 * 4096}
        video_processor = transformers.Qwen3VLVideoProcessor(do_sample_frames=False, size=size)
    elif family == "qwen2_vl":
        tower |= {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}
        config: Any = transformers.Qwen2VLConfig(text_config=text, vision_config=tower, **ids)
        model: Any = transformers.Qwen2VLForConditionalGeneration(config)
        processor_class: Any = transformers.Qwen2VLProcessor
    else:
        tower |= {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64}
        tower |= {"window_size": 112, "fullatt_block_indexes": [1]}
        config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=tower, **ids)
        model = transformers.Qwen2_5_VLForConditionalGeneration(config)
        processor_class = transformers.Qwen2_5_VLProcessor
    model.eval().save_pretrained(folder)
    processor_class(
        image_processor=image_processor,
        tokenizer=fast,
        video_processor=video_processor,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)


if __name__ == "__main__":
    main()
