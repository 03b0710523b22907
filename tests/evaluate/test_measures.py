"""Scores of answers, each against values computed by hand from its definition."""

from __future__ import annotations

import pytest

from autotc.errors import DataError
from autotc.evaluate.metrics import METRICS, check_answers, score_best


@pytest.mark.parametrize(
    ("name", "said", "right", "score"),
    [
        # One of six letters is another: 1 - 1/6. Two of four are: a distance of 0.5 counts as nothing found.
        ("anls", "Seven!", "seven.", 5 / 6),
        ("anls", "ab", "abcd", 0.0),
        ("anls", "abc", "abcd", 0.75),
        ("anls", " ABCD\n", "abcd", 1.0),
        ("anls", "", "abcd", 0.0),
        # 5% of 200 is 10.
        ("relaxed_accuracy", "210", "200", 1.0),
        ("relaxed_accuracy", "210.1", "200", 0.0),
        ("relaxed_accuracy", "190", "200", 1.0),
        ("relaxed_accuracy", "-200", "200", 0.0),
        ("relaxed_accuracy", "21%", "0.2", 1.0),
        ("relaxed_accuracy", "20", "20%", 0.0),
        ("relaxed_accuracy", "0", "0", 1.0),
        ("relaxed_accuracy", "0.01", "0", 0.0),
        ("relaxed_accuracy", "Blue", "blue", 1.0),
        ("relaxed_accuracy", "bluish", "blue", 0.0),
        ("relaxed_accuracy", "nan", "5", 0.0),
        ("relaxed_accuracy", "1e999", "5", 0.0),
        # Boxes of 100 and 100 with 50 in common: 50 / 150. A box in another twice its size: 1/2.
        ("iou", "[0, 0, 10, 10]", "[5, 0, 15, 10]", 1 / 3),
        ("iou", "It is at (0,0),(10,10).", "[0, 0, 10, 20]", 0.5),
        ("iou", '{"bbox_2d": [0, 0, 10, 10], "label": "cat"}', "[0, 0, 10, 10]", 1.0),
        ("iou", "<|box_start|>(0,0),(10,10)<|box_end|>", "0 0 10 10", 1.0),
        ("iou", "[0.25, 0.5, 0.75, 1.0]", "[0.25, 0.5, 0.75, 1]", 1.0),
        ("iou", "[20, 20, 30, 30]", "[0, 0, 10, 10]", 0.0),
        ("iou", "[10, 10, 0, 0]", "[0, 0, 10, 10]", 0.0),
        ("iou", "there is none", "[0, 0, 10, 10]", 0.0),
        ("iou@0.5", "[0, 0, 10, 10]", "[0, 0, 10, 20]", 1.0),
        ("iou@0.5", "[0, 0, 10, 9]", "[0, 0, 10, 20]", 0.0),
        # Of four words one is another and one is missing; of one word five are said.
        ("wer", "the cat sat", "the dog sat down", 0.5),
        ("wer", "The dog, sat down!", "the dog sat down", 1.0),
        ("wer", "a b c d e", "f", 0.0),
        ("wer", "", "the dog", 0.0),
        ("choice", "B", "B", 1.0),
        ("choice", "(b)", "B", 1.0),
        ("choice", "B. a dog", "B", 1.0),
        ("choice", "B: a dog", "(B)", 1.0),
        ("choice", "The answer is B.", "B", 1.0),
        ("choice", "I think that the correct answer is **B**, since", "B", 1.0),
        ("choice", "Answer: b", "B", 1.0),
        ("choice", "A dog, so it must be (B)", "B", 1.0),
        ("choice", "The answer is a dog", "A", 0.0),
        ("choice", "a dog", "A", 0.0),
        ("choice", "C", "B", 0.0),
        ("vqa", "The red.", "red", 1.0),
        ("vqa", "reddish", "red", 0.0),
    ],
)
def test_a_score(name: str, said: str, right: str, score: float) -> None:
    assert METRICS[name](said, right) == pytest.approx(score)


def test_vqa_asks_how_many_others_said_so() -> None:
    """Two of ten said red: those two find one other each, 1/3; the other eight find two, 2/3. Of four, all find 3."""
    people = ["red"] * 2 + ["blue"] * 4 + ["green"] * 3 + ["grey"]
    score = lambda said: score_best(METRICS["vqa"], said, people)  # noqa: E731
    assert score("red") == pytest.approx((2 * 1 / 3 + 8 * 2 / 3) / 10)
    assert score("blue") == pytest.approx(1.0)
    assert score("green") == pytest.approx((3 * 2 / 3 + 7 * 1) / 10)
    assert score("grey") == pytest.approx((1 * 0 + 9 * 1 / 3) / 10)
    assert score("black") == 0.0
    assert score_best(METRICS["vqa"], "red", ["red", "blue"]) == 0.5


def test_of_several_right_answers_the_best_counts() -> None:
    assert score_best(METRICS["exact"], "seven", ["7", "Seven"]) == 1.0
    assert score_best(METRICS["anls"], "abc", ["xyz", "abcd", "abcdef"]) == 0.75
    assert score_best(lambda said, right: len(right) / 10, "", ["a", "abc"]) == 0.3


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [
        ("iou", "left of the dog", "'left of the dog' given; a box"),
        ("iou@0.5", "[5, 5, 5, 9]", "x1 < x2"),
        ("choice", "a dog", "'a dog' given; the letter of a choice"),
        ("wer", "...", "'...' given; a text with words"),
    ],
)
def test_right_answers_that_a_metric_cannot_score(name: str, answer: str, message: str) -> None:
    with pytest.raises(DataError, match=r"^answer: ") as caught:
        check_answers(METRICS[name], ["[1, 1, 2, 2]" if name.startswith("iou") else "B", answer])
    assert message in str(caught.value)
    check_answers(None, [answer])
