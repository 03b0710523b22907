"""Every preset becomes a valid policy on shallow and deep models."""

from __future__ import annotations

import pytest

from autotc.errors import PolicyError
from autotc.mechanisms import MECHANISMS
from autotc.models.base import Depths
from autotc.policy import Policy
from autotc.presets import PRESETS, get_preset

DEPTHS = [
    Depths(decoder=6, encoder={"image": 3, "video": 3, "audio": 3}),
    Depths(decoder=28, encoder={"image": 32, "video": 32, "audio": 32}),
]


@pytest.mark.parametrize("depths", DEPTHS, ids=["shallow", "deep"])
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_builds_a_valid_policy(name: str, depths: Depths) -> None:
    preset = PRESETS[name]
    for modality in preset.modalities:
        for keep in (0.05, 0.125, 0.5, 1.0):
            stages = preset.build(modality, depths, keep)
            policy = Policy.of(stages)
            assert Policy.from_yaml(policy.to_yaml()) == policy
            assert stages[-1].final_ratio == keep
            for stage in stages:
                assert stage.mechanism == name
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


def test_every_mechanism_has_a_preset() -> None:
    assert set(PRESETS) == set(MECHANISMS)
    for name, preset in PRESETS.items():
        assert preset.needs == MECHANISMS[name].needs
        assert preset.family == MECHANISMS[name].family
        assert set(preset.locations) <= set(MECHANISMS[name].locations)


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
