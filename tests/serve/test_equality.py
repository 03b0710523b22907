"""Under vLLM a policy does what it does under transformers: the same ids, and log-probabilities to 1e-3.

The whole matrix is of `.ci/full`; a sample of it, one engine a row, runs always.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here")

from autotc.errors import PolicyError
from autotc.mechanisms import MECHANISMS
from autotc.models import bind
from autotc.policy import Policy, Stage
from autotc.serve import serve_refusal
from autotc.vocabulary import Location, Modality

from .checkpoints import FAMILIES
from .engines import ask, differs, engine, loaded, prompts

KINDS: dict[Modality, tuple[str, ...]] = {"image": ("image", "two"), "video": ("video",)}
KEEPS = (0.75, 0.5, 0.2)
MERGING = ("tome", "avg_pool", "prumerge", "visionzip", "scissor", "sttm", "framefusion")
QUERY = ("cdpruner", "trim", "mob", "text_similarity", "dart_embedding")
ATTENTION = ("hiprune", "cls_attention", "received_attention", "vispruner")
OTHER = ("divprune", "g_prune", "floc", "random", "evs", "vidcom2")
PLACES: dict[str, Location] = {
    **dict.fromkeys((*MERGING, *QUERY, *ATTENTION, *OTHER), "projector"),
    "downsample": "input",
}
SAMPLE = (
    ("qwen2_5_vl", "visionzip", 0.5),
    ("qwen3_vl", "tome", 0.2),
    ("llava", "cdpruner", 0.5),
    ("llava_onevision", "divprune", 0.5),
    ("qwen3_vl", "downsample", 0.5),
)
"""Of the matrix, what always runs."""


def policy_of(family: str, mechanism: str, keep: float) -> Policy | None:
    """The mechanism on every modality of a family that it may act on in vLLM; None where there is none."""
    model, _ = loaded(family)
    bound = bind(model)
    location = PLACES[mechanism]
    stages = []
    for modality in KINDS:
        if modality not in MECHANISMS[mechanism].modalities or modality not in bound.offers:
            continue
        stage = Stage(modality=modality, location=location, mechanism=mechanism, keep_ratio=keep)
        try:
            bound.validate(Policy(stages=(stage,)))
        except PolicyError:
            continue
        if serve_refusal(stage, bound.architecture) is None:
            stages.append(stage)
    return Policy(stages=tuple(stages)) if stages else None


@cache
def comparable(family: str) -> tuple[str, ...]:
    """Kinds of prompts that the bare engine answers as the bare model does."""
    kinds = [kind for modality, kinds in KINDS.items() if (family, modality) != ("llava", "video") for kind in kinds]
    asked = [prompts(family, kind) for kind in kinds]
    with engine(family) as bare:
        said = ask(bare, family, asked)
    nothing = Policy()
    return tuple(k for k, p, s in zip(kinds, asked, said, strict=True) if differs(s, family, nothing, p) is None)


def check(family: str, policy: Policy) -> None:
    asked = [prompts(family, kind) for kind in comparable(family)]
    with engine(family, policy) as served:
        said = ask(served, family, asked)
    told = {
        kind: differs(answer, family, policy, prompt)
        for kind, answer, prompt in zip(comparable(family), said, asked, strict=True)
    }
    assert not any(told.values()), told


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bare_engine_is_comparable(family: str) -> None:
    """No prompt is left out: where vLLM itself begins to differ from transformers, this says so."""
    assert comparable(family) == (("image", "two") if family == "llava" else ("image", "two", "video"))


@pytest.mark.parametrize(("family", "mechanism", "keep"), SAMPLE)
def test_some_policies_do_what_they_do_under_transformers(family: str, mechanism: str, keep: float) -> None:
    policy = policy_of(family, mechanism, keep)
    assert policy is not None
    check(family, policy)


@pytest.mark.full
@pytest.mark.parametrize(("family", "mechanism", "keep"), list(product(FAMILIES, PLACES, KEEPS)))
def test_policies_do_what_they_do_under_transformers(family: str, mechanism: str, keep: float) -> None:
    policy = policy_of(family, mechanism, keep)
    if policy is None:
        pytest.skip(f"{family} has no place for {mechanism} in vLLM")
    check(family, policy)


def stages(*rows: tuple[Modality, Location, str, float]) -> Policy:
    return Policy(stages=tuple(Stage(modality=m, location=at, mechanism=name, keep_ratio=r) for m, at, name, r in rows))


STACKS = {
    "two behind the tower": stages(("image", "projector", "tome", 0.6), ("image", "projector", "divprune", 0.3)),
    "input and projector": stages(("image", "input", "downsample", 0.6), ("image", "projector", "visionzip", 0.3)),
    "modalities apart": stages(("image", "projector", "trim", 0.5), ("video", "projector", "tome", 0.4)),
    "one modality alone": stages(("video", "projector", "divprune", 0.4)),
}


@pytest.mark.full
@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_stacks(family: str, name: str) -> None:
    check(family, STACKS[name])
