"""The generator and the shipped checkpoint."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest

from autotc.tiny.config import VOCABULARY
from autotc.tiny.scenes import SCENES, AudioScene, ImageScene, VideoScene
from autotc.tiny.sources import SHARES, load_sources


def test_splits_share_no_digit_image_and_no_voice() -> None:
    for a, b in itertools.combinations(SHARES, 2):
        one, two = load_sources(a), load_sources(b)
        assert not set(one.voices) & set(two.voices)
        for digit in range(10):
            assert not set(one.image_ids[digit].tolist()) & set(two.image_ids[digit].tolist())
    assert sum(len(i) for split in SHARES for i in load_sources(split).image_ids) == 1797


@pytest.mark.parametrize("kind", list(SCENES))
def test_scenes_are_seeded_and_label_every_unit(kind: str) -> None:
    sources = load_sources("val")
    one, two = (SCENES[kind](np.random.default_rng(4), sources) for _ in range(2))
    assert one.questions() == two.questions()
    assert np.array_equal(one.labels(), two.labels())
    assert len(one.labels()) >= 64
    for question in one.questions():
        assert all(word in VOCABULARY for word in (question.query + " " + question.answer).split())


def test_renderings_are_seeded() -> None:
    sources = load_sources("val")
    for scene in (ImageScene, VideoScene, AudioScene):
        a, b = (scene(np.random.default_rng(9), sources).render() for _ in range(2))
        assert np.array_equal(a, b)


def test_digits_of_a_picture_are_asked_in_reading_order() -> None:
    scene = ImageScene(np.random.default_rng(1), load_sources("val"), counts=(4,))
    labels = scene.labels()
    firsts = [int(np.flatnonzero(labels[:, 4] == i)[0]) for i in range(1, 5)]
    assert firsts == sorted(firsts)
    answers = {q.query: q.answer for q in scene.questions() if q.task == "order"}
    assert answers["digit first"] == str(labels[firsts[0], 0] - 1)
    assert answers["digit last"] == answers["digit fourth"] == str(labels[firsts[3], 0] - 1)


@pytest.mark.parametrize(
    ("kind", "sha256"),
    [
        ("image", "ff99fbe633eb827c01f8fdc56d7106a9a79f84a733ba6407873883744c90138d"),
        ("video", "3e8e3b9d833e616e319333e68ebdf720d44624ef2e0b532875d470b68070cb1d"),
        ("audio", "4447f446e5dab82da17aa083ecc30725a82de443dd92fb2f03f8abc0f7bad306"),
        ("image+audio", "5caf65b5885be961c9ece5d31bdcf193b004f0a6ac02945f1dc6513da44ddee9"),
    ],
)
def test_what_the_test_split_asks_never_changes(kind: str, sha256: str) -> None:
    digest, sources = hashlib.sha256(), load_sources("test")
    for seed in range(8):
        scene = SCENES[kind](np.random.default_rng([seed, 3]), sources)
        digest.update(scene.labels().tobytes())
        digest.update(repr([(q.task, q.query, q.answer) for q in scene.questions()]).encode())
    assert digest.hexdigest() == sha256
