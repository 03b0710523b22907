"""Which stages an engine expresses, how ratios become settings, and what stands in for the rest."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
import yaml

from autotc import cli
from autotc.cli.options import ENGINE_NAMES
from autotc.errors import PolicyError
from autotc.export import ENGINES, BuiltInEngine, Target, get_engine, plan_export
from autotc.export.nearest import combined, nearest
from autotc.mechanisms import MECHANISMS
from autotc.policy import ModelReference, Policy, Stage
from autotc.search.space import SearchSpace, SpaceError
from autotc.search.space.engines import deployable_space

QWEN25 = "Qwen2_5_VLForConditionalGeneration"
QWEN3 = "Qwen3VLForConditionalGeneration"
NEMOTRON = "NemotronH_Nano_VL_V2"


def stage(modality: str, mechanism: str, keep: float, location: str = "projector", **more: Any) -> Stage:
    return Stage(modality=modality, location=location, mechanism=mechanism, keep_ratio=keep, **more)  # type: ignore


def policy(*stages: Stage, architecture: str | None = None) -> Policy:
    return Policy.of(stages, ModelReference(architecture=architecture) if architecture else None)


def settings(engine: str, *stages: Stage, pixels: int | None = None) -> dict[str, Any]:
    plan = plan_export(policy(*stages), get_engine(engine), pixels=pixels)
    assert plan.expressible, plan.refused
    return vars(plan.engine.render(plan.deployed, Target("M", pixels)))


def test_the_names_on_the_command_line_are_the_registry() -> None:
    assert tuple(ENGINES) == ENGINE_NAMES


BUILT_IN = [engine for engine in ENGINES.values() if isinstance(engine, BuiltInEngine)]


@pytest.mark.parametrize("engine", BUILT_IN, ids=lambda engine: engine.name)
def test_capabilities_are_stages(engine: BuiltInEngine) -> None:
    for c in engine.capabilities:
        built = stage(c.modality, c.mechanism, 0.5, c.location, params=dict(c.params)).build()
        assert {*c.params, *c.free} <= set(built.params.model_dump())
        assert c.architectures


def test_every_mechanism_is_expressed_or_refused_with_a_reason() -> None:
    for name, cls in MECHANISMS.items():
        for modality in cls.modalities:
            for location in cls.locations:
                layer = {"layer": 1} if location in ("encoder", "decoder") else {}
                wanted = policy(stage(modality, name, 0.5, location, **layer))
                for engine in BUILT_IN:
                    plan = plan_export(wanted, engine)
                    known = any(
                        (c.modality, c.location, c.mechanism) == (modality, location, name) for c in engine.capabilities
                    )
                    assert plan.expressible == known
                    assert known or engine.title in plan.refused[0].reason


def test_vllm() -> None:
    evs = settings("vllm-built-in", stage("video", "evs", 0.25))
    assert shlex.join(evs["command"]) == "vllm serve M --video-pruning-rate 0.75"
    assert evs["python"] == "vllm.LLM('M', video_pruning_rate=0.75)"
    vidcom2 = settings("vllm-built-in", stage("video", "vidcom2", 0.3))
    assert shlex.join(vidcom2["command"]) == ("vllm serve M --video-pruning-rate 0.7 --video-pruning-method vidcom2")
    assert vidcom2["config"] == {"video-pruning-rate": 0.7, "video-pruning-method": "vidcom2"}
    both = settings(
        "vllm-built-in", stage("image", "downsample", 0.5, "input"), stage("video", "evs", 0.9), pixels=1_000_001
    )
    assert both["command"][3:] == (
        *("--mm-processor-kwargs", '{"images_kwargs": {"max_pixels": 500000}}'),
        *("--video-pruning-rate", "0.1"),
    )


def test_sglang_and_tensorrt_llm() -> None:
    evs = stage("video", "evs", 0.4)
    sglang = settings("sglang", evs)
    assert shlex.join(sglang["command"]) == (
        "sglang serve --model-path M --json-model-override-args '{\"video_pruning_rate\": 0.6}'"
    )
    trt = settings("tensorrt-llm", evs)
    assert shlex.join(trt["command"]) == "trtllm-serve M --video_pruning_rate 0.6"
    assert trt["config"] == {"multimodal_config": {"video_pruning_rate": 0.6}}


def test_openvino_takes_whole_percents() -> None:
    found = settings("openvino", stage("image", "cdpruner", 1 / 3, params={"relevance_weight": 0.5}))
    assert found["config"] == {"pruning_ratio": 67, "relevance_weight": 0.5}
    assert found["environment"] == {"CDPRUNER_SPLIT_THRESHOLD": "0"}
    plan = plan_export(policy(stage("image", "cdpruner", 1 / 3)), get_engine("openvino"))
    assert plan.deployed.stages[0].keep_ratio == 0.33
    assert any("0.33" in note for note in plan.notes)


def test_what_runs_is_said() -> None:
    plan = plan_export(policy(stage("video", "evs", 0.5)), get_engine("vllm-built-in"))
    assert plan.deployed.stages[0].params == {"counting": "engine"}
    assert any("counting: engine" in note for note in plan.notes)
    exact = plan_export(plan.deployed, get_engine("vllm-built-in"))
    assert exact.deployed == plan.deployed
    assert not any("counting" in note for note in exact.notes)


@pytest.mark.parametrize(
    ("engine", "wanted", "reason"),
    [
        ("vllm-built-in", policy(stage("video", "vidcom2", 0.5), architecture=QWEN25), f"not in {QWEN25}"),
        ("sglang", policy(stage("video", "evs", 0.5), architecture=QWEN3), f"not in {QWEN3}"),
        ("tensorrt-llm", policy(stage("image", "divprune", 0.5)), "for image it has nothing"),
        ("vllm-built-in", policy(stage("image", "downsample", 0.5, "input")), "--pixels"),
        ("vllm-built-in", policy(stage("video", "downsample", 0.5, "input")), "shrinks video"),
        ("openvino", policy(stage("image", "downsample", 0.5, "input")), "shrinks image"),
        ("vllm-built-in", policy(stage("video", "vidcom2", 0.3, "decoder", layer=2)), "no vidcom2 at the decoder"),
        ("vllm-built-in", policy(stage("video", "evs", 0.5), stage("video", "vidcom2", 0.3)), "prunes video once"),
    ],
)
def test_refused(engine: str, wanted: Policy, reason: str) -> None:
    plan = plan_export(wanted, get_engine(engine))
    assert not plan.expressible
    assert reason in plan.refused[-1].reason


def test_an_engine_knows_its_models() -> None:
    assert plan_export(policy(stage("video", "evs", 0.5), architecture=NEMOTRON), get_engine("sglang")).expressible
    other = policy(stage("video", "evs", 0.5), architecture=QWEN25)
    assert not plan_export(other, get_engine("sglang")).expressible
    assert plan_export(other, get_engine("sglang"), NEMOTRON).expressible
    with pytest.raises(PolicyError, match="vllm, vllm-built-in, sglang"):
        get_engine("lmdeploy")


def test_nearest_has_the_same_cost() -> None:
    def flops(policy: Policy, modality: str) -> float:
        """As if a decoder stage cost half of what it keeps, a projector stage all of it."""
        stages = [s for s in policy.stages if s.modality == modality]
        return min([1.0, *(0.5 + s.final_ratio / 2 if s.location == "decoder" else s.final_ratio for s in stages)])

    wanted = policy(
        stage("video", "vidcom2", 0.3, "decoder", layer=2), stage("image", "fastv", 0.3, "decoder", layer=2)
    )
    plan = plan_export(wanted, get_engine("vllm-built-in"), QWEN3)
    options = nearest(plan, wanted, flops)
    assert options["image"] == ()
    # Its own mechanism comes first.
    assert [(s.mechanism, s.keep_ratio) for s in options["video"]] == [("vidcom2", 0.65), ("evs", 0.65)]
    found = combined(plan, {"video": options["video"][0], "image": None})
    assert found.modalities == ("video",)
    assert plan_export(found, plan.engine, QWEN3).expressible


def test_versions_that_are_known_to_be_wrong_are_told() -> None:
    plan = plan_export(policy(stage("video", "evs", 0.5), architecture=QWEN3), get_engine("vllm-built-in"))
    (told,) = [note for note in plan.notes if "0.24.0" in note]
    assert "wrong from 0.13.0 to before 0.24.0" in told
    assert "33607" in told
    assert "44205" in told
    sound = plan_export(policy(stage("video", "evs", 0.5), architecture=QWEN25), get_engine("vllm-built-in"))
    assert any(note.endswith("from vLLM 0.11.0") for note in sound.notes)


def test_images_shrink_where_nothing_prunes_them() -> None:
    wanted = policy(stage("image", "fastv", 0.3, "decoder", layer=2))
    without = plan_export(wanted, get_engine("vllm-built-in"), QWEN25)
    assert "a cap on pixels" in without.refused[0].reason
    assert "max_pixels" in without.engine.lacking("image", QWEN25)
    assert without.engine.lacking("audio", QWEN25) == f"vLLM has nothing for it in {QWEN25}"
    plan = plan_export(wanted, get_engine("vllm-built-in"), QWEN25, pixels=1_000_000)
    (stand_in,) = nearest(plan, wanted, lambda p, modality: min(s.final_ratio for s in p.modality(modality)))["image"]
    assert (stand_in.mechanism, stand_in.location, stand_in.keep_ratio) == ("downsample", "input", 0.3)
    deployed = combined(plan, {"image": stand_in})
    settings = plan.engine.render(deployed, Target("M", 1_000_000)).config
    assert settings == {"mm-processor-kwargs": {"images_kwargs": {"max_pixels": 300_000}}}
    assert any("a cap in pixels" in note for note in plan.noted([stand_in]).notes)


def test_space_of_an_engine() -> None:
    full = SearchSpace.from_yaml(
        yaml.safe_dump(
            {
                "version": 1,
                "modalities": {
                    "image": {
                        "choices": [{"mechanism": "divprune", "location": "projector", "keep_ratio": [0.2, 0.8]}]
                    },
                    "video": {
                        "choices": [
                            {"mechanism": "tome", "location": "encoder", "layers": [0], "keep_ratio": [0.2, 0.8]},
                            {"mechanism": "evs", "location": "projector", "keep_ratio": [0.2, 0.8]},
                            {"mechanism": "vidcom2", "location": "projector", "keep_ratio": [0.2, 0.8]},
                        ]
                    },
                },
            }
        )
    )
    space = deployable_space(full, get_engine("vllm-built-in"))
    assert list(space.modalities) == ["video"]
    assert [c.key for c in space.modalities["video"].choices] == ["evs@projector", "vidcom2@projector"]
    assert [c.key for c in deployable_space(full, get_engine("vllm-built-in"), QWEN25).modalities["video"].choices] == [
        "evs@projector"
    ]
    assert SearchSpace.from_yaml(space.to_yaml()) == space
    assert space.deployable_on == "vllm-built-in"
    assert "deployable_on" not in full.to_yaml()  # studies of before go on
    with pytest.raises(SpaceError, match=r"OpenVINO GenAI can run nothing of this space; .*cdpruner"):
        deployable_space(full, get_engine("openvino"))
    with pytest.raises(SpaceError, match=QWEN25):
        deployable_space(full, get_engine("sglang"), QWEN25)


def test_all_that_a_space_proposes_is_expressible() -> None:
    import optuna

    from autotc.resources import search_space

    engine = get_engine("vllm-built-in")
    space = deployable_space(SearchSpace.load(search_space("deployable")), engine)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        plan = plan_export(space.suggest(study.ask()), engine)
        assert plan.expressible
        assert not any("counting" in note for note in plan.notes)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_command(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    file, out = tmp_path / "p.yaml", tmp_path / "vllm.yaml"
    policy(stage("video", "evs", 0.25), architecture=QWEN25).save(file)
    code, text, err = run(capsys, "export", file, "--to", "vllm-built-in", "--json", "--out", out)
    assert (code, err) == (0, "")
    data = json.loads(text)
    assert data["expressible"] is True
    assert data["config"] == {"video-pruning-rate": 0.75} == yaml.safe_load(out.read_text())
    ratios = data["flops_ratio"]["video"]
    assert ratios["policy"] == pytest.approx(ratios["deployed"], abs=0.01)
    assert 0.2 < ratios["policy"] < 0.7  # the tower runs in full
    assert data["accuracy"] is None


def test_command_says_what_the_nearest_costs(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    file = tmp_path / "p.yaml"
    policy(stage("video", "divprune", 0.4)).save(file)
    code, text, _ = run(capsys, "export", file, "--to", "vllm-built-in", "--json", "--limit", 6)
    assert code == 1
    data = json.loads(text)
    assert data["refused"][0]["stage"] == "video projector divprune 0.4"
    found = Policy.model_validate(data["deployed"])
    assert found.stages[0].mechanism in ("evs", "vidcom2")
    ratios = data["flops_ratio"]["video"]
    assert ratios["deployed"] == pytest.approx(ratios["policy"], abs=0.01)
    assert set(data["accuracy"]) == {"video"}
    assert set(data["difference"]) == {"video", "overall"}
    code, text, _ = run(capsys, "export", file, "--to", "vllm-built-in", "--no-measure")
    assert code == 1
    assert "accuracy: not measured" in text


def test_command_without_a_model(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    file = tmp_path / "p.yaml"
    policy(stage("video", "evs", 0.5), architecture=NEMOTRON).save(file)
    code, text, _ = run(capsys, "export", file, "--to", "sglang")
    assert code == 0
    assert "not known" in text
    code, _, err = run(capsys, "export", file, "--to", "sglang", "--measure")
    assert code == 2
    assert "--data" in err
    code, _, err = run(capsys, "export", file, "--to", "lmdeploy")
    assert code == 2
    assert "vllm" in err
    code, _, err = run(capsys, "export", tmp_path / "none.yaml", "--to", "vllm-built-in")
    assert code == 2
    assert "no such file" in err
    code, _, err = run(capsys, "export", file, "--to", "sglang", "--out", tmp_path / "none" / "x.yaml")
    assert code == 2
    assert "--out" in err


def test_tensorrt_edge_llm() -> None:
    found = settings("tensorrt-edge-llm", stage("image", "dart_embedding", 0.25, params={"item_pivots": 2}))
    assert shlex.join(found["command"]) == (
        "llm_inference --engineDir M/llm --multimodalEngineDir M/visual --visualPrune --dartReductionRatio 0.75"
        " --dartPivotImageTokens 2 --dartPivotTextTokens 4"
    )
    both = policy(stage("image", "dart_embedding", 0.25), stage("video", "dart_embedding", 0.5))
    (refusal,) = plan_export(both, get_engine("tensorrt-edge-llm")).refused
    assert "one setting for all modalities, and image projector dart_embedding 0.25 has another" in refusal.reason
    published = policy(stage("image", "dart", 0.25, "decoder", layer=2))
    plan = plan_export(published, get_engine("tensorrt-edge-llm"), QWEN3)
    assert "for image it has dart_embedding at the projector" in plan.refused[0].reason
    (near,) = nearest(plan, published, lambda p, modality: min(s.final_ratio for s in p.modality(modality)))["image"]
    assert (near.mechanism, near.keep_ratio) == ("dart_embedding", 0.25)
