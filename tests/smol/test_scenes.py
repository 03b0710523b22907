"""Scenes of `smol-vl`: what they show is what they say, and splits share no part of a photograph."""

from __future__ import annotations

import numpy as np
import pytest

from autotc.smol.drawing import SIZE, TRAINING_SHARE, background
from autotc.smol.scenes import PATCH, Clip, Picture, Sign, Thing, draw_clip, draw_picture, render
from autotc.smol.vocabulary import COLORS, FRAME_NAMES, SHAPES, TASKS, TEXTURES, WORDS

RED, BLUE = COLORS.index("red"), COLORS.index("blue")
STAR, RING, SQUARE = (SHAPES.index(name) for name in ("star", "ring", "square"))


def picture() -> Picture:
    """A small red star in cell B3, a large blue ring in cell D1's row, and one word."""
    things = [Thing(STAR, RED, 56, 104, 16, 3), Thing(RING, BLUE, 90, 2, 100, 3)]
    return Picture(7, "benchmark", TEXTURES.index("dots"), things, [Sign(WORDS.index("horse"), 0, 18, 6, 6, True)])


def test_questions_by_hand() -> None:
    asked = {(q.task, q.text): q.answer for q in picture().questions()}
    assert asked == {
        ("texture", "What is the background?"): "dots",
        ("read", "What word is printed here?"): "horse",
        ("detail", "What color is the star?"): "red",
        ("point", "In which cell is the star?"): "B3",
        ("shape", "What shape is red?"): "star",
        ("large", "What color is the ring?"): "blue",
        ("point", "In which cell is the ring?"): "C2",
        ("shape", "What shape is blue?"): "ring",
    }


def test_a_crowd_is_counted() -> None:
    things = [Thing(shape, RED, 10, 20 * place, 15, 3) for place, shape in enumerate((STAR, STAR, RING, STAR))]
    crowd = Picture(1, "training", 0, things, counted=STAR)
    assert [(q.text, q.answer) for q in crowd.questions() if q.task == "count"] == [("How many stars are there?", "3")]


def test_labels_lie_where_things_are_seen() -> None:
    labels = picture().labels().reshape(12, 12, 4)
    star = np.argwhere(labels[..., 0] == STAR + 1)
    assert {(int(row), int(column)) for row, column in star} <= {(3, 6), (3, 7), (4, 6), (4, 7)}
    assert len(star) >= 1
    assert (labels[labels[..., 0] == RING + 1][:, 1] == BLUE + 1).all()
    assert (labels[0, 0:2, 2] == WORDS.index("horse") + 1).all()
    assert (labels[..., 3] == TEXTURES.index("dots")).all()


def test_colors_are_seen_where_labels_say() -> None:
    square = Picture(3, "training", TEXTURES.index("clouds"), [Thing(SQUARE, RED, 48, 48, 48, 3)])
    pixels = square.render().reshape(12, PATCH, 12, PATCH, 3).mean((1, 3))
    inside = square.labels().reshape(12, 12, 4)[..., 1] == RED + 1
    assert inside.sum() == 5
    assert (pixels[inside][:, 0] - pixels[inside][:, 1:].max(1) > 90).all()
    assert (pixels[~inside][:, 0] - pixels[~inside][:, 1:].max(1) < 80).all()


@pytest.mark.parametrize("seed", range(20))
def test_what_happens_in_a_clip_is_in_one_frame_only(seed: int) -> None:
    clip = draw_clip(np.random.default_rng(seed), "training")
    frames = clip.render().astype(int)
    assert frames.shape == (4, SIZE, SIZE, 3)
    plain = clip.still.render().astype(int)
    # Frames differ by their grain, of a deviation of 4, and by what appears.
    apart = [np.abs(frame - plain).max() > 60 for frame in frames]
    assert apart == [number == clip.when for number in range(4)]
    asked = {q.task: q.answer for q in clip.questions()}
    assert asked["moment"] == FRAME_NAMES[clip.when]
    assert asked["event"] == f"{COLORS[clip.event.color]} {SHAPES[clip.event.shape]}"


def test_every_kind_of_question_is_asked_and_has_one_answer() -> None:
    rng = np.random.default_rng(0)
    scenes: list[Picture | Clip] = [draw_picture(rng, "training", crowd=i % 4 == 0) for i in range(80)]
    scenes += [draw_clip(rng, "training") for _ in range(10)]
    seen = set()
    for scene in scenes:
        questions = scene.questions()
        assert len({q.text for q in questions}) == len(questions)
        seen |= {q.task for q in questions}
        assert render(scene).dtype == np.uint8
    assert seen == set(TASKS)


def test_a_scene_is_the_same_each_time() -> None:
    for _ in range(2):
        one, two = (draw_picture(np.random.default_rng(5), "training", crowd=False) for _ in range(2))
        assert one == two
        assert (one.render() == two.render()).all()


def test_splits_share_no_part_of_a_photograph() -> None:
    from sklearn.datasets import load_sample_images

    from autotc.smol.drawing import _photographs

    for number, whole in enumerate(load_sample_images().images):
        parts = [_photographs(part)[number] for part in ("training", "benchmark")]
        assert parts[0].shape[1] == int(TRAINING_SHARE * whole.shape[1])
        assert (np.concatenate(parts, 1) == whole).all()
    rng = np.random.default_rng(0)
    assert background(rng, "photo", "benchmark").shape == (SIZE, SIZE, 3)
