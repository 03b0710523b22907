"""What vLLM does with prompts stays right under a policy: batches, chunks, caches, preemption, lengths."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here")

from autotc.policy import Policy, Stage
from autotc.vocabulary import Modality

from .engines import Prompt, ask, differs, engine, noise, picture

SIZES = ((40, 56), (48, 32), (32, 32), (56, 48), (64, 40))


def at_projector(mechanism: str, keep: float, *modalities: Modality, **params: Any) -> Policy:
    return Policy(
        stages=tuple(
            Stage(modality=m, location="projector", mechanism=mechanism, keep_ratio=keep, params=params)
            for m in modalities or ("image", "video")
        )
    )


def mixed(count: int) -> list[Prompt]:
    """Prompts with none, one or two pictures of several sizes or a clip, some pictures more than once."""
    out = []
    for i in range(count):
        seed, size = i % 37, SIZES[i % len(SIZES)]
        words = " ".join(["which digit is red", "what is the colour here", "which digit"][i % 3 :])
        if i % 7 == 0:
            out.append(Prompt(words=words))
        elif i % 7 == 1:
            out.append(Prompt(video=noise(seed, 2 + 2 * (i % 3), 32, 40, 3), words=words))
        elif i % 7 < 4:
            out.append(Prompt(images=[picture(seed, *size)], words=words))
        else:
            out.append(Prompt(images=[picture(seed, *size), picture(seed + 1, *SIZES[(i + 2) % 5])], words=words))
    return out


def ids(engine: Any, family: str, asked: list[Prompt]) -> list[list[int]]:
    return [said.ids for said in ask(engine, family, asked)]


# For LLaVA-OneVision vLLM leaves room for a picture of one size, as if none were larger; here some are.
@pytest.mark.parametrize(
    ("family", "chunk"), [("qwen2_5_vl", 24), pytest.param("llava_onevision", 64, marks=pytest.mark.full)]
)
def test_two_hundred_requests_in_small_chunks_say_what_each_says_alone(family: str, chunk: int) -> None:
    asked, policy = mixed(200), at_projector("divprune", 0.5)
    with engine(family, policy, max_num_seqs=1, enable_prefix_caching=False) as alone:
        expected = ids(alone, family, asked)
    # Chunks of so few tokens end inside of pictures; pictures that come again are in the caches.
    crowded = {"max_num_seqs": 16, "max_num_batched_tokens": chunk, "enable_chunked_prefill": True}
    with engine(family, policy, enable_prefix_caching=True, **crowded) as together:
        said = ids(together, family, asked)
    assert [i for i, (a, b) in enumerate(zip(said, expected, strict=True)) if a != b] == []


def test_preempted_requests_go_on_where_they_were() -> None:
    asked, policy = mixed(24), at_projector("tome", 0.5)
    with engine("qwen3_vl", policy, max_num_seqs=1) as alone:
        expected = ids(alone, "qwen3_vl", asked)
    # Room for a few prompts and none of their answers: some are thrown out and computed again.
    with engine("qwen3_vl", policy, max_num_seqs=16, num_gpu_blocks_override=12, max_model_len=128) as narrow:
        assert ids(narrow, "qwen3_vl", asked) == expected


def test_caches_tell_pictures_and_where_a_rule_reads_them_questions_apart() -> None:
    policy = at_projector("cdpruner", 0.3)
    same, other = picture(1, 40, 56), picture(2, 40, 56)
    asked = [
        Prompt(images=[same], words="which digit is red"),
        Prompt(images=[same], words="which digit is red"),
        Prompt(images=[other], words="which digit is red"),
        Prompt(images=[same], words="blue blue what is said here"),
        Prompt(images=[same, other], words="blue blue what is said here"),
    ]
    with engine("qwen2_5_vl", policy, enable_prefix_caching=True) as served:
        for prompt in asked:  # one by one, so that each finds what the ones before have left
            (said,) = ask(served, "qwen2_5_vl", [prompt])
            assert differs(said, "qwen2_5_vl", policy, prompt) is None
        # Names that a client gives its pictures change nothing of that.
        for words in ("which digit is red", "blue blue what is said here"):
            prompt = Prompt(images=[same], words=words, options={"multi_modal_uuids": {"image": ["mine"]}})
            (said,) = ask(served, "qwen2_5_vl", [prompt])
            assert differs(said, "qwen2_5_vl", policy, prompt) is None


def test_pictures_side_by_side_and_prompts_that_fit_once_they_are_pruned() -> None:
    policy = at_projector("random", 0.2, "image")
    text = Prompt(words="what is said here")
    three = Prompt(images=[picture(i, 40, 40) for i in range(3)])
    with engine("llava") as bare:
        expected = ids(bare, "llava", [text])
    # Uncompressed the prompt with three pictures has more than 80 tokens; answers count too.
    with engine("llava", policy, max_model_len=60) as served:
        said = ask(served, "llava", [three])[0]
        assert said.length < 44
        assert differs(said, "llava", policy, three) is None
        assert ids(served, "llava", [text]) == expected
    with (
        engine("llava", max_model_len=60) as bare,
        pytest.raises(Exception, match="longer than the maximum model length of 60"),
    ):
        ask(bare, "llava", [three])


def test_keeping_everything_is_no_policy() -> None:
    asked = mixed(12)
    with engine("qwen3_vl") as bare:
        expected = ask(bare, "qwen3_vl", asked)
    with engine("qwen3_vl", at_projector("tome", 1.0)) as served:
        assert ask(served, "qwen3_vl", asked) == expected


def test_a_query_rule_refuses_prompts_whose_query_it_cannot_tell() -> None:
    policy = at_projector("cdpruner", 0.5, "image")
    both = Prompt(images=[picture(1, 40, 40)], video=noise(3, 4, 32, 40, 3))
    with engine("qwen3_vl", policy) as served, pytest.raises(Exception, match="the policy reads the query of a prompt"):
        ask(served, "qwen3_vl", [both])


@pytest.mark.full
def test_the_engines_own_pruning_leaves_as_many_tokens() -> None:
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    clip = Prompt(video=noise(5, 8, 32, 40, 3))
    policy = at_projector("evs", 0.25, "video", counting="engine")
    with engine("qwen2_5_vl", policy) as served:
        ours = ask(served, "qwen2_5_vl", [clip])[0].length
    inner = CPUModelRunner.load_model

    def load_model(self: Any, *args: Any, **kwargs: Any) -> None:  # what vLLM 0.32 forgets on CPUs
        inner(self, *args, **kwargs)
        self.is_multimodal_pruning_enabled = True

    CPUModelRunner.load_model = load_model
    try:
        with engine("qwen2_5_vl", video_pruning_rate=0.75) as official:
            theirs = ask(official, "qwen2_5_vl", [clip])[0].length
    finally:
        CPUModelRunner.load_model = inner
    assert ours == theirs
