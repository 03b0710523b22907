"""Slow, obvious NumPy forms of the mechanisms, on one item; and the makers of test items."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray

from autotc.mechanisms import Modality, Score, Tokens

Array = NDArray[np.float64]
Grid = tuple[int, int, int]


def item(grid: Grid, width: int, seed: int, dtype: torch.dtype = torch.float32, pad: int = 0) -> Tokens:
    """One item on a full grid with random features; ``pad`` tokens of padding on the left hold NaN."""
    places = list(itertools.product(*(range(size) for size in grid)))
    n = len(places)
    random = np.random.default_rng(seed)
    features = torch.full((1, pad + n, width), torch.nan)
    features[:, pad:] = torch.from_numpy(random.standard_normal((n, width))).float()
    at = torch.zeros(1, pad + n, 3, dtype=torch.long)
    at[:, pad:] = torch.tensor(places)
    box = torch.zeros(1, pad + n, 6)
    box[..., 0::2], box[..., 1::2] = at.float(), at.float() + 1
    valid = torch.arange(pad + n)[None] >= pad
    return Tokens(features.to(dtype), valid, at, box, valid.float())


def scores(tokens: Tokens, seed: int) -> dict[Score, torch.Tensor]:
    """Random scores of every kind for one item; the same for any padding."""
    random = np.random.default_rng(seed + 10_000)
    pad = int((~tokens.valid).sum())
    n = tokens.valid.shape[1] - pad
    out: dict[Score, torch.Tensor] = {}
    names: tuple[Score, ...] = ("last_query_attention", "received_attention", "text_similarity", "representation_shift")
    for name in names:
        out[name] = torch.full((1, pad + n), torch.nan)
        out[name][:, pad:] = torch.from_numpy(random.random(n)).float()
    out["keys"] = torch.full((1, pad + n, 6), torch.nan)
    out["keys"][:, pad:] = torch.from_numpy(random.standard_normal((n, 6))).float()
    return out


def stack(items: list[Tokens]) -> Tokens:
    """One batch of items of equal padded length."""
    names = ("features", "valid", "grid", "box", "mass")
    return Tokens(**{name: torch.cat([getattr(tokens, name) for tokens in items]) for name in names})


def stack_scores(parts: list[dict[Score, torch.Tensor]]) -> dict[Score, torch.Tensor]:
    """The same for scores."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


GRIDS: dict[Modality, tuple[Grid, ...]] = {
    "image": ((1, 1, 1), (1, 1, 2), (1, 1, 17), (1, 5, 6)),
    "video": ((1, 1, 1), (2, 1, 1), (1, 4, 3), (1, 1, 17), (6, 2, 3)),
    "audio": ((1, 1, 1), (2, 1, 1), (17, 1, 1)),
}


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def top(score: Array, m: int) -> list[int]:
    return sorted(sorted(range(len(score)), key=lambda i: (-score[i], i))[:m])


def divprune(x: Array, m: int) -> list[int]:
    n = len(x)
    distance = [[1 - cosine(x[i], x[j]) for j in range(n)] for i in range(n)]
    chosen: list[int] = []
    while len(chosen) < m:
        best, best_score = -1, -np.inf
        for i in range(n):
            others = chosen or [j for j in range(n) if j != i]
            score = min((distance[i][j] for j in others), default=0.0)
            if i not in chosen and score > best_score:
                best, best_score = i, score
        chosen.append(best)
    return sorted(chosen)


def cdpruner(x: Array, text: Array, m: int) -> list[int]:
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    relevance = (text - text.min() + 1e-6) / (text.max() - text.min()) if len(text) > 1 else np.ones(1)
    kernel = relevance[:, None] * (unit @ unit.T) * relevance[None]
    chosen: list[int] = []
    while len(chosen) < m:
        volume = {
            i: np.linalg.slogdet(kernel[np.ix_([*chosen, i], [*chosen, i])])[1]
            for i in range(len(x))
            if i not in chosen
        }
        chosen.append(max(volume, key=lambda i: volume[i]))
    return sorted(chosen)


def evs(x: Array, grid: Grid, m: int) -> list[int]:
    frames = x.reshape(grid[0], -1, x.shape[1])
    score = np.full(frames.shape[:2], np.inf)
    for t in range(1, grid[0]):
        for p in range(frames.shape[1]):
            score[t, p] = 1 - cosine(frames[t, p], frames[t - 1, p])
    return top(score.reshape(-1), m)


def dyn_ttm(x: Array, grid: Grid, m: int) -> list[int]:
    """Drop, turn by turn, one token of every frame that still holds most, later frames first; anchors come last."""
    frames = x.reshape(grid[0], -1, x.shape[1])
    size = frames.shape[1]

    def change(t: int, p: int, back: int) -> float:
        return 1 - cosine(frames[t, p], frames[t - back, p])

    kept = {t: list(range(size)) for t in range(grid[0])}
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


def tome(keys: Array, x: Array, m: int) -> tuple[list[int], Array]:
    groups = [[i] for i in range(len(x))]
    place = list(range(len(x)))
    while len(groups) > m:
        mean = [keys[g].mean(0) for g in groups]
        even, odd = list(range(0, len(groups), 2)), list(range(1, len(groups), 2))
        best = {i: max(odd, key=lambda j: (cosine(mean[i], mean[j]), -j)) for i in even}
        order = sorted(even, key=lambda i: (-cosine(mean[i], mean[best[i]]), i))
        leaving = order[: min(len(groups) - m, len(groups) // 2)]
        for i in leaving:
            groups[best[i]] = groups[best[i]] + groups[i]
        groups = [g for i, g in enumerate(groups) if i not in leaving]
        place = [p for i, p in enumerate(place) if i not in leaving]
    return place, np.stack([x[g].mean(0) for g in groups])


def a_tome(keys: Array, x: Array, m: int) -> tuple[list[int], Array]:
    links = sorted(range(1, len(x)), key=lambda i: (-cosine(keys[i], keys[i - 1]), i))[: len(x) - m]
    heads = [i for i in range(len(x)) if i not in links]
    ends = [*heads[1:], len(x)]
    return heads, np.stack([x[a:b].mean(0) for a, b in zip(heads, ends, strict=True)])


def visionzip(attention: Array, keys: Array, x: Array, m: int) -> tuple[list[int], Array]:
    dominant = top(attention, max(1, int(m * 54 / 64 + 0.5)))
    rest = [i for i in range(len(x)) if i not in dominant]
    wanted = m - len(dominant)
    targets = rest[:: max(1, len(rest) // wanted)][:wanted] if wanted else []
    assigned: dict[int, list[int]] = {t: [] for t in targets}
    for i in rest:
        if targets and i not in targets:
            assigned[max(targets, key=lambda t: (cosine(keys[i], keys[t]), -t))].append(i)
    out = x.copy()
    for t, members in assigned.items():
        if members:
            out[t] = x[t] + x[members].mean(0)
    kept = sorted(dominant + targets)
    return kept, out[kept]


def avg_pool(x: Array, grid: Grid, m: int) -> Array:
    """Only where grid and budget divide evenly: the mean of boxes, frames kept."""
    frames, rows, columns = grid
    side = round((rows * columns * frames / m) ** 0.5)
    cells = x.reshape(frames, rows // side, side, columns // side, side, -1)
    return cells.mean((2, 4)).reshape(m, -1)
