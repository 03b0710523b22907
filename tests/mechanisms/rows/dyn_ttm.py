"""DyCoke's temporal merging, by dropping token after token."""

from __future__ import annotations

from ..kit import Case, Given, Row, cosine


def reference(given: Given, m: int) -> list[int]:
    """Drop, turn by turn, one token of every frame that still holds most, later frames first; anchors come last."""
    frames = given.x.reshape(given.grid[0], -1, given.x.shape[1])
    size = frames.shape[1]

    def change(t: int, p: int, back: int) -> float:
        return 1 - cosine(frames[t, p], frames[t - back, p])

    kept = {t: list(range(size)) for t in range(len(frames))}
    while sum(map(len, kept.values())) > m:
        moving = [t for t in kept if t % 4 and kept[t]]
        if moving:
            t = max(moving, key=lambda t: (len(kept[t]), t))
            back = 2 if t % 4 == 2 else 1
            kept[t].remove(min(kept[t], key=lambda p: (change(t, p, back), -p)))
        else:
            later = [(change(t, p, 4), -t, -p) for t in kept if t % 4 == 0 and t for p in kept[t]]
            if later:
                _, t, p = min(later)
                kept[-t].remove(-p)
            else:
                kept[0].pop()
    return sorted(t * size + p for t in kept for p in kept[t])


# Frame 2 is compared with frame 0, which it equals, and not with frame 1, from which it differs.
_X = [[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.1], [1.0, 0.0], [1.0, 0.2]]
ROW = Row(
    reference,
    (
        Case(_X, 5, [0, 1, 2, 5, 7], grid=(4, 1, 2)),  # one of each later frame, the most changed
        Case(_X, 2, [0, 1], grid=(4, 1, 2)),
    ),
)
