"""Every preset becomes a valid policy on shallow and deep models."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotc.conflicts.rules import check_rules
from autotc.depths import Depths
from autotc.errors import PolicyError
from autotc.mechanisms import MECHANISMS
from autotc.mechanisms.registry import PRESETS_ALONE
from autotc.models.checkpoints import find_checkpoint
from autotc.models.published import CONFIRMED
from autotc.policy import Policy
from autotc.presets import PRESETS, get_preset
from autotc.presets.catalogue import by_name
from autotc.presets.listing import describe, entry, presets
from autotc.presets.policies import every_policy, preset_policy
from autotc.vocabulary import FAMILIES, LOCATIONS, MODALITIES, Location, Modality

DEPTHS = [
    Depths(decoder=6, encoder={"image": 3, "video": 3, "audio": 3}),
    Depths(decoder=28, encoder={"image": 32, "video": 32, "audio": 32}),
]


@pytest.mark.parametrize("depths", DEPTHS, ids=["shallow", "deep"])
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_builds_a_valid_policy(name: str, depths: Depths) -> None:
    preset = PRESETS[name]
    for modality in preset.modalities:
        for keep in (0.05, 0.125, 0.5, 0.95):
            stages = preset.build(modality, depths, keep)
            policy = Policy.of(stages)
            assert Policy.from_yaml(policy.to_yaml()) == policy
            assert stages[-1].final_ratio == (preset.parts_of(modality)[-1].fixed or keep)
            for stage in stages:
                assert stage.location in preset.locations
                deep = depths.decoder if stage.location == "decoder" else depths.encoder[modality]
                assert all(layer is None or layer < deep for layer, _ in stage.steps())


def test_published_places() -> None:
    depths = Depths(decoder=32, encoder={"image": 24})
    assert get_preset("fastv").build("image", depths, 0.5)[0].layer == 2
    assert get_preset("tome").build("image", depths, 0.5)[0].layer == 11
    steps = get_preset("pyramiddrop").build("image", depths, 0.125)[0].steps()
    assert [layer for layer, _ in steps] == [8, 16, 24]
    assert [ratio for _, ratio in steps] == pytest.approx([0.5, 0.25, 0.125])


def decoder_steps(name: str, modality: Modality, depths: Depths) -> list[tuple[str, int | None, float]]:
    """Mechanism, layer and ratio of each step in the decoder at the published keep ratio."""
    preset = get_preset(name)
    stages = preset.build(modality, depths, preset.published(modality, depths.family))
    return [(s.mechanism, at, ratio) for s in stages if s.location == "decoder" for at, ratio in s.steps()]


def test_aim_is_published_in_one_form_for_video_and_in_another_for_images() -> None:
    depths = Depths(decoder=28, encoder={"image": 26, "video": 26})
    first, *_ = get_preset("aim").build("video", depths, 0.25 / 8)
    assert (first.mechanism, first.keep_ratio) == ("aim", 0.25)
    steps = decoder_steps("aim", "video", depths)
    assert [layer for _, layer, _ in steps] == [*range(15, 23)]
    assert [ratio for *_, ratio in steps] == pytest.approx([(7 - i) / 32 for i in range(7)] + [1e-6])
    # LLaVA-1.5: 252 of 576 tokens after merging by keys, an eighth less before each of the layers 14 to 20, then none.
    depths = Depths(decoder=32, encoder={"image": 23}, family="llava")
    first, *_ = get_preset("aim").build("image", depths, 0.4375 / 8)
    assert (first.mechanism, first.keep_ratio) == ("tome", 252 / 576)
    steps = decoder_steps("aim", "image", depths)
    assert [layer for _, layer, _ in steps] == [*range(14, 22)]
    assert steps[-1] == ("withdraw", 21, 1e-6)


def test_btp_is_published_in_one_form_for_llava_and_in_another_for_qwen() -> None:
    llava, qwen = Depths(decoder=32, encoder={"image": 23}), Depths(28, {"image": 32}, family="qwen2_5_vl")
    assert [layer for _, layer, _ in decoder_steps("btp", "image", llava)] == [3, 6, 14, 22]
    steps = decoder_steps("btp", "image", qwen)
    assert [layer for _, layer, _ in steps] == [3, 6, 15, 22]
    assert [ratio for *_, ratio in steps] == pytest.approx([0.5, 0.25, 0.125, 1e-6])
    shares = [stage.params["attention"] for stage in get_preset("btp").build("image", qwen, 0.125)[:3]]
    assert shares == [0.1, 0.4, 1.0]
    assert "layer 15 of 28 (on qwen2_5_vl)" in describe(get_preset("btp"))
    assert find_checkpoint("qwen2.5-vl-7b").bound.depths.family == "qwen2_5_vl"


def test_of_two_steps_on_the_last_layer_the_later_one_remains() -> None:
    steps = decoder_steps("aim", "video", DEPTHS[0])
    assert [(name, layer) for name, layer, _ in steps] == [
        ("attention_rank", 3),
        ("attention_rank", 4),
        ("withdraw", 5),
    ]


def test_published_forms_that_run_under_flash_attention() -> None:
    # Both compute the few rows of attention that they read apart, beside the fused kernel.
    assert get_preset("fastvid").flash_safe
    assert get_preset("framefusion").flash_safe


PUBLISHED = """
random uniform_stride downsample avg_pool slowfast strided_time frequency tome divprune dart g_prune folder
pact_dbdpc mob evs vidcom2 dyn_ttm dtd fastvid prunevid holitom framefusion sttm scissor floc a_tome fastadasp
fastv pyramiddrop vtw fitprune visionzip vispruner fastervlm prumerge hired hiprune holov btp top_k_audio
rep_shift sparsevlm cdpruner trim adafv text_similarity speechprune mustdrop pooled_query omnizip aim
"""


def test_the_published_methods_are_there() -> None:
    assert {*PUBLISHED.split()} <= set(PRESETS)
    assert len(PRESETS) >= 36
    assert sum("audio" in preset.modalities for preset in PRESETS.values()) >= 6
    assert {preset.family for preset in PRESETS.values()} == {*FAMILIES}
    for preset in PRESETS.values():
        assert preset.paper or preset.family == "control"


def test_structural_rules_refuse_no_preset() -> None:
    everywhere: dict[str, tuple[Location, ...]] = dict.fromkeys(MODALITIES, LOCATIONS)
    for preset in PRESETS.values():
        for modality in preset.modalities:
            for depths in DEPTHS:
                check_rules(Policy.of(preset.build(modality, depths, 0.2)), depths, everywhere)


def test_ratios_scale_by_one_exponent() -> None:
    depths = Depths(decoder=32, encoder={"image": 24})
    steps = get_preset("pyramiddrop").build("image", depths, 0.5)[0].steps()
    assert [ratio for _, ratio in steps] == pytest.approx([0.5 ** (1 / 3), 0.5 ** (2 / 3), 0.5], abs=1e-6)


def test_errors_say_what_is_right() -> None:
    with pytest.raises(PolicyError, match="did you mean 'divprune'"):
        get_preset("divprun")
    with pytest.raises(PolicyError, match=r"known: .*fastv"):
        get_preset("zzz")
    with pytest.raises(PolicyError, match="evs does not take 'audio'"):
        get_preset("evs").build("audio", DEPTHS[0], 0.5)
    with pytest.raises(PolicyError, match="ratio in"):
        get_preset("evs").build("video", DEPTHS[0], 0.0)
    with pytest.raises(PolicyError, match="the model has none"):
        get_preset("tome").build("audio", Depths(decoder=6, encoder={"image": 3}), 0.5)


def test_filters_and_listing() -> None:
    names = {preset.name for preset in presets(family="query", modality="video")}
    assert {"cdpruner", "text_similarity"} <= names
    assert "speechprune" not in names
    assert {preset.name for preset in presets(location="encoder", needs="received_attention")} >= {
        "top_k_audio",
        "folder",
    }
    assert {preset.name for preset in presets(paper="2412.01818")} == {"vispruner", "fastervlm"}
    assert {p.name for p in presets(flash_safe=True)} | {p.name for p in presets(flash_safe=False)} == set(PRESETS)
    fields = "name family modalities locations needs paper flash_safe"
    assert set(entry(get_preset("fastv"))) >= {*fields.split()}


def test_a_table_of_presets_is_records() -> None:
    table = presets(family="control")
    assert [preset.name for preset in table] == [row["name"] for row in table.to_json()]
    assert len(table) == len(table.to_pandas()) == len(table.to_markdown().splitlines()) - 2
    assert table.to_pandas().columns[0] == "name"
    assert "<table>" in table._repr_html_()
    assert presets()["fastv"] is get_preset("fastv")
    with pytest.raises(PolicyError, match="did you mean 'fastv'"):
        _ = presets()["fastvv"]


def test_a_preset_as_a_policy_for_a_model() -> None:
    policy = preset_policy("divprune", 0.25, model="qwen2.5-vl-7b", modalities=["video"])
    assert policy.label() == "video projector divprune 0.25"
    assert policy.model is not None
    assert preset_policy("divprune", 0.25).modalities == ("image", "video", "audio")
    with pytest.raises(PolicyError, match="evs: acts on video at projector; the model offers image at"):
        preset_policy("evs", model="llava-1.5-7b")
    with pytest.raises(PolicyError, match="evs: acts on video"):
        preset_policy("evs", modalities=["image"])


def test_a_name_is_given_once() -> None:
    with pytest.raises(PolicyError, match="two are named 'fastv'; give each a name of its own"):
        by_name([*PRESETS.values(), get_preset("fastv")])


@pytest.mark.parametrize("model", sorted(CONFIRMED))
def test_shipped_policies_are_what_the_presets_say(model: str) -> None:
    bound = find_checkpoint(model).bound
    folder = Path(__file__).parents[2] / "policies" / model
    shipped = {path.stem: path for path in folder.glob("*.yaml")}
    made = {
        f"{name}-{keep:g}": policy
        for keep in (0.5, 0.25, 0.1)
        for name, policy in every_policy(keep, model=model).items()
    }
    again = f"autotc presets all --model {model} --keep R --out policies/{model}"
    assert set(shipped) == set(made), again
    for name, policy in made.items():
        assert shipped[name].read_text(encoding="utf-8").partition("\n")[2] == policy.to_yaml(), again
        assert policy.note is not None
        assert "published settings, not measured here" in policy.note
        check_rules(policy, bound.depths, bound.offers)


def test_presets_that_are_no_mechanism_are_known_where_mechanisms_are_named() -> None:
    assert {*PRESETS} - {*MECHANISMS} == PRESETS_ALONE


@pytest.mark.parametrize("name", PRESETS)
def test_the_least_of_ratios_can_be_built(name: str) -> None:
    depths = Depths(decoder=28, encoder=dict.fromkeys(MODALITIES, 24))
    for modality in get_preset(name).modalities:
        for keep in (1e-6, 1e-3, 1.0):
            ratios = [ratio for stage in get_preset(name).build(modality, depths, keep) for _, ratio in stage.steps()]
            assert all(0 < ratio <= 1 for ratio in ratios)
