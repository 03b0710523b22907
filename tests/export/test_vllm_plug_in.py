"""vLLM with the plug-in: what it serves is served as it is, and for the rest the nearest that it serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import autotc
from autotc import cli
from autotc.deployment import Served
from autotc.export import get_engine, plan_export
from autotc.mechanisms import MECHANISMS
from autotc.policy import ModelReference, Policy, Stage
from autotc.resources import search_space
from autotc.search import search
from autotc.search.space import SearchSpace, SpaceError
from autotc.search.space.engines import deployable_space
from autotc.serve import SERVED, read_served, serve_refusal
from tests.search.synthetic import SyntheticEvaluator

ENGINE = get_engine("vllm")
QWEN25 = "Qwen2_5_VLForConditionalGeneration"


def stage(
    mechanism: str, keep: float = 0.5, location: Any = "projector", modality: Any = "image", **more: Any
) -> Stage:
    layer = more.pop("layer", None)
    return Stage(modality=modality, location=location, layer=layer, mechanism=mechanism, keep_ratio=keep, **more)


def policy(*stages: Stage) -> Policy:
    return Policy.of(stages, ModelReference(architecture=QWEN25))


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("architecture", [None, *SERVED, "Gemma3ForConditionalGeneration"])
def test_an_export_says_what_the_plug_in_would_say(architecture: str | None) -> None:
    for name, kind in MECHANISMS.items():
        for modality in kind.modalities:
            for location in kind.locations:
                one = stage(name, 0.5, location, modality, layer=1 if location in ("encoder", "decoder") else None)
                plan = plan_export(Policy(stages=(one,)), ENGINE, architecture)
                reasons = [refusal.reason for refusal in plan.refused]
                assert reasons == [reason for reason in [serve_refusal(one, architecture)] if reason is not None]


def test_a_policy_is_served_by_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = policy(stage("divprune"), stage("evs", 0.25, modality="video")).save(tmp_path / "x.yaml")
    code, text, _ = run(capsys, "export", file, "--to", "vllm", "--json", "--out", tmp_path / "vllm.json")
    assert code == 0
    data = json.loads(text)
    assert data["command"][:4] == ["vllm", "serve", "MODEL", "--additional-config"]
    settings = json.loads(data["command"][4])
    assert settings == data["config"]["additional-config"]
    assert json.loads((tmp_path / "vllm.json").read_text()) == data["config"]
    assert settings["autotc"]["policy"] == str(file)
    assert read_served(settings["autotc"]).policy == Policy.load(file)  # the hash fits as well


def test_what_stands_in_is_served_from_a_file_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "x.yaml", tmp_path / "served.yaml"
    policy(stage("fastv", 0.3, "decoder", layer=2), stage("evs", 0.25, modality="video")).save(file)
    code, text, _ = run(capsys, "export", file, "--to", "vllm", "--policy-out", out, "--no-measure")
    assert code == 1
    assert "paged keys and values" in text
    served = Policy.load(out)
    assert {s.modality for s in served.stages} == {"image", "video"}
    assert all(serve_refusal(s, QWEN25) is None for s in served.stages)
    assert served.content_hash() in text
    again, _, _ = run(capsys, "export", out, "--to", "vllm", "--no-measure")
    assert again == 0
    code, _, err = run(capsys, "export", file, "--to", "sglang", "--policy-out", out)
    assert (code, err.count("\n")) == (2, 1)
    assert "--policy-out" in err


def test_the_same_rule_behind_the_tower_comes_first() -> None:
    wanted = (stage("divprune", 0.4, "decoder", layer=2),)
    first, *others = ENGINE.offers("image", QWEN25, wanted, None)
    assert (first.mechanism, first.location) == ("divprune", "projector")
    assert [other.mechanism for other in others] == ["visionzip", "cdpruner", "tome"]
    fixed = ENGINE.offers("image", QWEN25, (stage("prumerge", params={"adaptive": True}),), None)[0]
    assert (fixed.mechanism, fixed.params["adaptive"]) == ("prumerge", False)
    assert ENGINE.offers("audio", None, (stage("a_tome", modality="audio", location="projector"),), None) == ()


def test_the_nearest_costs_the_same_and_is_measured() -> None:
    wanted = Policy.of([stage("divprune", 0.4, "decoder", "video", layer=2)])
    exported = autotc.export(wanted, "vllm", SyntheticEvaluator(), served=Served(architecture=QWEN25), limit=20)
    assert [s.location for s in exported.deployed.stages] == ["projector"]
    assert exported.flops is not None
    assert exported.flops["video"].deployed == pytest.approx(exported.flops["video"].policy, abs=0.01)
    assert exported.accuracy is not None
    assert exported.deployment.config["additional-config"]["autotc"]["policy"] == "POLICY.yaml"


def test_a_search_for_it_finds_what_it_serves(tmp_path: Path) -> None:
    space = deployable_space(SearchSpace.load(search_space(ENGINE.space)), ENGINE, QWEN25)
    kinds = {choice.mechanism for part in space.modalities.values() for choice in part.choices}
    assert set(space.modalities) == {"image", "video"}
    assert len(kinds) > 30
    assert any(part.max_stages > 1 for part in space.modalities.values())
    ran: list[Policy] = []
    search(
        SyntheticEvaluator(on_run=lambda policy, split: ran.append(policy)),
        space=space,
        budget=0.7,
        trials=8,
        track=False,
        runs=tmp_path / "runs",
        out_dir=tmp_path / "policies",
    )
    compressed = [policy.model_copy(update={"model": None}) for policy in ran if policy.stages]
    assert all(plan_export(policy, ENGINE, QWEN25).expressible for policy in compressed)
    used = {s.mechanism for policy in compressed for s in policy.stages}
    assert {"random", "divprune"} <= used  # controls and presets take part


def test_a_space_without_anything_it_serves() -> None:
    with pytest.raises(SpaceError, match=r"vLLM with autotc's plug-in can run nothing .* mechanisms at the projector"):
        deployable_space(SearchSpace.load(search_space("audio")), ENGINE)
