"""GlobalCom2, view by view and crop by crop."""

from __future__ import annotations

import math

import numpy as np

from ..kit import Array, Case, Given, Row
from .hired import shared_out


def between(image: Array, y: float, x: float) -> float:
    """The image at a place between the centres of its cells, clamped to the outermost ones."""
    y, x = (min(max(v, 0.0), size - 1.0) for v, size in zip((y, x), image.shape, strict=True))
    total = 0.0
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            total += image[i, j] * max(0.0, 1.0 - abs(y - i)) * max(0.0, 1.0 - abs(x - j))
    return total


def reference(given: Given, m: int) -> list[int]:
    """The thumbnail as an image; every crop by the tokens that lie in it."""
    attention, places = given.scores["cls_attention"], [tuple(int(v) for v in place) for place in given.places]
    n = len(places)
    first = [i for i in range(n) if places[i][0] == 0]
    rest = [i for i in range(n) if places[i][0] > 0] or first
    (rows, columns), (height, width) = (
        (max(places[i][1] for i in part) + 1, max(places[i][2] for i in part) + 1) for part in (first, rest)
    )
    image = np.zeros((rows, columns))
    for i in first:
        image[places[i][1], places[i][2]] = attention[i]
    one = int(str(given.params.get("crops", 2)))
    down, right = (one, one) if rest is first else (math.ceil(height / rows), math.ceil(width / columns))
    names = [(a, b) for a in range(down) for b in range(right)]
    looked = dict.fromkeys(names, 0.0)
    for y in range(rows):
        for x in range(columns):
            looked[y * down // rows, x * right // columns] += image[y, x]
    heat = np.array([looked[name] for name in names]) / image.sum()
    heat = np.exp(heat / float(str(given.params.get("temperature", 10.0))))
    share = 1.0 + heat / heat.sum() - 1.0 / len(names)

    members = {
        name: [i for i in rest if (places[i][1] * down // height, places[i][2] * right // width) == name]
        for name in names
    }
    groups = [[] if rest is first else first, *members.values()]
    weight = [float(len(groups[0])), *(len(members[name]) * s for name, s in zip(names, share, strict=True))]
    score = {i: attention[i] for i in first} if rest is not first else {}
    for inside in members.values():
        own = np.array([attention[i] for i in inside])
        seen = np.array(
            [
                between(image, (places[i][1] + 0.5) * rows / height - 0.5, (places[i][2] + 0.5) * columns / width - 0.5)
                for i in inside
            ]
        )
        both = own / max(np.linalg.norm(own), 1e-12) + seen / max(np.linalg.norm(seen), 1e-12)
        score |= dict(zip(inside, both, strict=True))
    counts = shared_out(m, weight, [len(group) for group in groups])
    return sorted(
        i
        for group, count in zip(groups, counts, strict=True)
        for i in sorted(group, key=lambda i: (-score[i], i))[:count]
    )


# A thumbnail of 2 x 2 and one crop of the same size: two tokens each. In the crop its own attention has norm 0.5, that
# is (0, 0.6, 0.8, 0), and the thumbnail's too, (0.6, 0, 0, 0.8): 2 and 3 have 0.8 in all, 0 and 1 have 0.6.
_VIEWS = {"cls_attention": [0.3, 0.0, 0.0, 0.4, 0.0, 0.3, 0.4, 0.0]}
# One view of 1 x 4 in two crops, with attention 0.6 and 0.4; at temperature 0.1 the softmax is of 6 and 4, 0.881 and
# 0.119, and the shares are 1.381 and 0.619. Of 3 tokens that is 2.07 and 0.93: largest remainders give 2 and 1.
_ONE = {"cls_attention": [0.5, 0.1, 0.1, 0.3]}
ROW = Row(
    reference,
    (
        Case([[1.0]] * 8, 4, [0, 3, 6, 7], grid=(2, 2, 2), scores=_VIEWS),
        Case([[1.0]] * 4, 3, [0, 1, 3], grid=(1, 1, 4), scores=_ONE, params={"temperature": 0.1}),
    ),
    permutes=True,
    params=({}, {"temperature": 0.05}, {"crops": 3, "temperature": 0.2}),
)
