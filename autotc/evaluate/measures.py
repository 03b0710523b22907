"""Scores of answers as benchmarks define them, each in [0, 1].

Each is a function of (said, right); `vqa_accuracy` looks at all right answers together. Right answers that a score
cannot use are errors; what the model said never is, it scores 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from autotc.errors import DataError, missing_dependency, quote

ANLS_THRESHOLD = 0.5
RELAXED_TOLERANCE = 0.05
Box = tuple[float, float, float, float]

_NUMBER = r"(?<![\w.])(-?\d+(?:\.\d+)?)"
_BOX = re.compile(rf"[\[(]\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)?\s*,?\s*\(?\s*{_NUMBER}\s*,\s*{_NUMBER}\s*[\])]")
"""``[x1, y1, x2, y2]``, ``(x1, y1), (x2, y2)`` or either with other brackets."""
_CHOICES = (
    re.compile(r"\W*([A-Za-z])\W*"),
    re.compile(r"\W*([A-Z])\s*[.):,]\s.*", re.DOTALL),
    re.compile(r".*(?i:\banswer(?:\s+is)?\b)\s*:?\s*\W{0,3}([A-Z])\b.*", re.DOTALL),
    re.compile(r".*(?i:\banswer(?:\s+is)?\b)\s*:?\s*\W{0,3}([a-z])\W*", re.DOTALL),
    re.compile(r".*\(([A-Z])\).*", re.DOTALL),
)
"""A letter is the whole answer, opens it, follows the word, or stands in brackets; the first form that fits counts."""


def folded(text: str) -> str:
    """A text in one case with single spaces."""
    return " ".join(text.casefold().split())


def exact(said: str, right: str) -> float:
    """1 where both are equal but for case and white space."""
    return float(folded(said) == folded(right))


def contains(said: str, right: str) -> float:
    """1 where the right answer stands in what was said as whole words (``1`` is not in ``10``), case ignored."""
    return float(re.search(rf"(?<!\w){re.escape(folded(right))}(?!\w)", folded(said)) is not None)


def anls(said: str, right: str) -> float:
    """Normalised Levenshtein similarity, 0 from a distance of half the longer text on; case and spaces do not count.

    The score of one question in ANLS, of several right answers the best (Biten et al., Scene Text Visual Question
    Answering, arXiv 1905.13648, threshold 0.5).
    """
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError as error:
        raise missing_dependency(error) from error
    distance = float(Levenshtein.normalized_distance(folded(said), folded(right)))
    return 1 - distance if distance < ANLS_THRESHOLD else 0.0


def relaxed_accuracy(said: str, right: str) -> float:
    """1 where a number is within 5% of the right one, else where both texts are equal, case ignored.

    Masry et al., ChartQA, arXiv 2203.10244, as the code of Pix2Struct reads it (`relaxed_correctness`): a percent sign
    divides by 100, and a right answer of 0 is compared as a text.
    """
    number, wanted = _number(said), _number(right)
    if number is not None and wanted:
        return float(abs(number - wanted) / abs(wanted) <= RELAXED_TOLERANCE)
    return exact(said, right)


def _number(text: str) -> float | None:
    found = re.fullmatch(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)\s*(%?)", text.strip())
    if found is None:
        return None
    return float(found[1]) / (100 if found[2] else 1)


def iou(said: str, right: str) -> float:
    """Intersection over union of two boxes, each the first ``[x1, y1, x2, y2]`` of its text; 0 where nothing is one.

    Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010. Both are on one scale, the one that the
    model answers in. Corners may stand in brackets of their own, ``(x1, y1), (x2, y2)``; a text of four numbers without
    brackets is a box too.

    Raises:
        DataError: the right answer is no box with an area.
    """
    wanted, found = _box(right), _box(said)
    if wanted is None:
        raise DataError(f"answer: {quote(right)} given; a box [x1, y1, x2, y2] with x1 < x2 and y1 < y2 is expected")
    if found is None:
        return 0.0
    try:
        import torch
        from torchvision.ops import box_iou
    except ImportError as error:
        raise missing_dependency(error) from error
    return float(box_iou(*(torch.tensor([box], dtype=torch.float64) for box in (found, wanted))).clamp(0, 1))


def iou_at_50(said: str, right: str) -> float:
    """1 where `iou` is at least 0.5: what RefCOCO and PASCAL VOC count as found.

    Raises:
        DataError: the right answer is no box with an area.
    """
    return float(iou(said, right) >= 0.5)


def _box(text: str) -> Box | None:
    """The first box of a text that has an area."""
    places = [found.groups() for found in _BOX.finditer(text)]
    if not places and len(numbers := re.findall(_NUMBER, text)) == 4:
        places = [tuple(numbers)]
    for place in places:
        x1, y1, x2, y2 = map(float, place)
        if x1 < x2 and y1 < y2:
            return x1, y1, x2, y2
    return None


def wer(said: str, right: str) -> float:
    """1 minus the word error rate, at least 0; case, punctuation and spaces do not count.

    Words substituted, deleted and inserted over words of the right answer (Morris et al., From WER and RIL to MER and
    WIL, Interspeech 2004). The mean over samples is not the rate of a corpus, which counts a long clip more.

    Raises:
        DataError: the right answer has no words.
    """
    try:
        import jiwer
    except ImportError as error:
        raise missing_dependency(error) from error
    wanted, heard = _words(right), _words(said)
    if not wanted:
        raise DataError(f"answer: {quote(right)} given; a text with words is expected")
    return max(0.0, 1 - float(jiwer.wer(" ".join(wanted), " ".join(heard))))


def vqa(said: str, right: str) -> float:
    """`vqa_accuracy` of one right answer: whether both are equal but for case, articles and punctuation."""
    return vqa_accuracy(said, [right])


def vqa_accuracy(said: str, answers: Sequence[str]) -> float:
    """Mean over the people asked of min(1, how many of the others said so / 3), or of fewer where few were asked.

    Antol et al., VQA: Visual Question Answering, arXiv 1505.00468, with the averaging of the official code. Give all
    ten answers of a question, equal ones as often as they were given. Where fewer than four were, all the others have
    to agree. Case, articles, punctuation and white space do not count; the official lists of contractions and numerals
    are not applied.
    """
    heard = _bare(said)
    same = [_bare(answer) == heard for answer in answers]
    if len(same) == 1:
        return float(same[0])
    enough = min(3, len(same) - 1)
    return sum(min(1.0, (sum(same) - own) / enough) for own in same) / len(same)


def _words(text: str) -> list[str]:
    """Words of a text in one case, without punctuation."""
    return re.sub(r"[^\w\s]", "", folded(text)).split()


def _bare(text: str) -> str:
    return " ".join(word for word in _words(text) if word not in ("a", "an", "the"))


def choice(said: str, right: str) -> float:
    """1 where the letter chosen is the right one: ``B``, ``(b)``, ``B. a dog`` or ``the answer is B``.

    Letters are looked for as in the evaluation of MMMU (Yue et al., arXiv 2311.16502); what names none is wrong, where
    that code draws one by chance.

    Raises:
        DataError: the right answer names no letter.
    """
    wanted = _letter(right)
    if wanted is None:
        raise DataError(f"answer: {quote(right)} given; the letter of a choice, such as B, is expected")
    return float(_letter(said) == wanted)


def _letter(text: str) -> str | None:
    found = next((match for form in _CHOICES if (match := form.fullmatch(text.strip()))), None)
    return None if found is None else found[1].upper()
