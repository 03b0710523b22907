"""The steps that mechanisms share, against slow NumPy forms on random ragged inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from autotc.mechanisms.allocation import allocate, allocate_bounded, share_between
from autotc.mechanisms.apart import frame_rows, smooth
from autotc.mechanisms.clustering import NOISE, density_noise, density_peaks, nearest
from autotc.mechanisms.frames import change, frame_tokens
from autotc.mechanisms.grouping import count_groups, neighbour_runs
from autotc.mechanisms.selection import min_max, rank_in_group, top_per_group, unit

from .kit import Array, cosine, item, stack

SEEDS = range(50)


def ragged(seed: int, rows: int = 3, longest: int = 14) -> tuple[Tensor, np.random.Generator]:
    """Validity of rows of different lengths, right-aligned; one of them is full."""
    random = np.random.default_rng(seed)
    count = torch.from_numpy(random.integers(1, longest + 1, rows))
    count[int(random.integers(rows))] = longest
    return torch.arange(longest)[None] >= longest - count[:, None], random


def hidden(values: Array, valid: Tensor) -> Tensor:
    """Values (B, N, ...) with NaN on padding."""
    out = torch.from_numpy(values).float()
    out[~valid] = torch.nan
    return out


def shared_out(budget: int, weight: list[float], capacity: list[int], least: int) -> list[int]:
    """Largest remainders, with full groups taken out of the sharing one round after the other."""
    given = [0] * len(weight)
    for g, size in enumerate(capacity):
        given[g] = min(size, least, budget - sum(given))
    left = budget - sum(given)
    room = [size - had for size, had in zip(capacity, given, strict=True)]
    extra: dict[int, float] = {}
    while True:
        sharing = [g for g, size in enumerate(room) if size and g not in extra]
        rest = left - sum(extra.values())
        if not sharing or not rest:
            break
        weights = {g: weight[g] for g in sharing}
        if not sum(weights.values()):
            weights = dict.fromkeys(sharing, 1.0)
        ideal = {g: rest * w / sum(weights.values()) for g, w in weights.items()}
        full = [g for g in sharing if ideal[g] > room[g] - 1e-9]
        if not full:
            extra |= ideal
            break
        extra |= {g: float(room[g]) for g in full}
    whole = {g: int(share + 1e-9) for g, share in extra.items()}
    spare = left - sum(whole.values())
    by_remainder = sorted(extra, key=lambda g: (-round(extra[g] - whole[g], 6), g))
    for g in by_remainder[:spare]:
        whole[g] += 1
    return [had + whole.get(g, 0) for g, had in enumerate(given)]


@pytest.mark.parametrize("least", [0, 1, 2])
def test_allocate(least: int) -> None:
    for seed in range(300):
        random = np.random.default_rng(seed)
        groups = int(random.integers(1, 8))
        capacity = random.integers(0, 12, (4, groups))
        capacity[:, 0] += 1
        kind = seed % 4
        weight = random.random((4, groups))
        if kind == 1:
            weight = random.integers(0, 4, (4, groups)).astype(float)
        elif kind == 2:
            weight = np.exp(10 * weight)
        elif kind == 3:
            weight[:2] = 0
        budget = np.array([random.integers(1, row.sum() + 1) for row in capacity])
        budget[0] = capacity[0].sum()
        given = allocate(torch.from_numpy(budget), torch.from_numpy(weight), torch.from_numpy(capacity), least)
        assert given.dtype == torch.long
        assert given.sum(1).tolist() == budget.tolist()
        assert (given >= 0).all()
        assert (given <= torch.from_numpy(capacity)).all()
        for row in range(4):
            expected = shared_out(int(budget[row]), weight[row].tolist(), capacity[row].tolist(), least)
            assert given[row].tolist() == expected, (seed, row, weight[row], capacity[row], budget[row])
            alone = allocate(
                torch.from_numpy(budget[row : row + 1]),
                torch.from_numpy(weight[row : row + 1]),
                torch.from_numpy(capacity[row : row + 1]),
                least,
            )
            assert alone[0].tolist() == given[row].tolist()


def test_share_between() -> None:
    for seed in SEEDS:
        random = np.random.default_rng(seed)
        weight = torch.from_numpy(random.random((3, 6)) * (random.random((3, 6)) < 0.8))
        low = torch.from_numpy(random.integers(0, 4, (3, 6)))
        high = low + torch.from_numpy(random.integers(0, 6, (3, 6)))
        budget = torch.from_numpy(random.integers(1, 40, 3))
        share = share_between(budget, weight, low, high)
        assert ((share >= low) & (share <= high)).all()
        assert torch.allclose(share.sum(1), budget.double().clamp(low.sum(1).double(), high.sum(1).double()))
        for b in range(3):
            # Those strictly between their bounds are in proportion.
            free = [g for g in range(6) if low[b, g] + 1e-6 < share[b, g] < high[b, g] - 1e-6 and weight[b, g] > 0]
            ratio = [float(share[b, g] / weight[b, g]) for g in free]
            assert not ratio or max(ratio) / min(ratio) < 1 + 1e-6


@pytest.mark.parametrize(
    ("budget", "weight", "capacity", "least", "expected"),
    [
        (10, [1.0, 1.0, 1.0], [9, 9, 9], 0, [4, 3, 3]),  # equal remainders are served in order
        (10, [5.0, 3.0, 2.0], [9, 9, 9], 0, [5, 3, 2]),
        (10, [8.0, 1.0, 1.0], [4, 9, 9], 0, [4, 3, 3]),  # what the full one cannot take is shared by weight
        (10, [6.0, 2.0, 1.0], [4, 9, 9], 0, [4, 4, 2]),
        (3, [0.0, 0.0], [5, 5], 0, [2, 1]),
        (5, [1.0, 0.0], [3, 5], 0, [3, 2]),  # a group of weight 0 takes part once the others are full
        (4, [1.0, 0.0, 0.0], [9, 9, 9], 1, [2, 1, 1]),
        (2, [0.0, 0.0, 1.0], [9, 9, 9], 1, [1, 1, 0]),
        (4, [float("nan"), 1.0], [9, 9], 0, [0, 4]),
    ],
)
def test_allocate_by_hand(
    budget: int, weight: list[float], capacity: list[int], least: int, expected: list[int]
) -> None:
    given = allocate(torch.tensor([budget]), torch.tensor([weight]), torch.tensor([capacity]), least)
    assert given.tolist() == [expected]


def test_ranks_and_tops_of_groups() -> None:
    for seed in SEEDS:
        valid, random = ragged(seed)
        score = random.integers(0, 5, valid.shape).astype(float)  # ties
        score[random.random(valid.shape) < 0.1] = np.nan
        group = torch.from_numpy(random.integers(0, 4, valid.shape))
        rank = rank_in_group(hidden(score, valid), group, valid)
        counts = count_groups(group, valid, 4)
        wanted = (counts.double() * torch.from_numpy(random.random(counts.shape))).round().long()
        top = top_per_group(hidden(score, valid), group, wanted, valid)
        assert not top[~valid].any()
        for b in range(len(valid)):
            members: dict[int, list[int]] = {g: [] for g in range(4)}
            for n in range(valid.shape[1]):
                if valid[b, n]:
                    members[int(group[b, n])].append(n)
            for g, tokens in members.items():
                assert int(counts[b, g]) == len(tokens)
                order = sorted(tokens, key=lambda n: (-np.nan_to_num(score[b, n], nan=-np.inf), n))
                assert [int(rank[b, n]) for n in order] == list(range(len(tokens)))
                assert [n for n in tokens if top[b, n]] == sorted(order[: int(wanted[b, g])])


def test_nearest() -> None:
    for seed in SEEDS:
        valid, random = ragged(seed)
        x = random.standard_normal((*valid.shape, 5))
        among = torch.from_numpy(random.random(valid.shape) < 0.4)
        if seed % 5 == 0:
            among[0] = False
        index, similarity = nearest(hidden(x, valid), among, valid)
        for b, n in valid.nonzero().tolist():
            choice = [m for m in range(valid.shape[1]) if valid[b, m] and among[b, m]]
            if not choice:
                assert int(index[b, n]) == 0
                assert float(similarity[b, n]) == -np.inf
                continue
            best = max(choice, key=lambda m: (cosine(x[b, n], x[b, m]), -m))
            assert int(index[b, n]) == best
            assert abs(float(similarity[b, n]) - cosine(x[b, n], x[b, best])) < 1e-5


def test_nearest_takes_the_earlier_of_equals() -> None:
    valid = torch.ones(1, 5, dtype=torch.bool)
    among = torch.tensor([[False, True, False, True, True]])
    index, similarity = nearest(torch.ones(1, 5, 8), among, valid)
    assert index.tolist() == [[1] * 5]
    assert torch.allclose(similarity, torch.ones(1, 5))


def test_neighbour_runs() -> None:
    for seed in SEEDS:
        valid, random = ragged(seed)
        keys = random.standard_normal((*valid.shape, 4))
        count = valid.sum(1)
        budget = (count.double() * torch.from_numpy(random.random(len(valid)))).long() + 1
        threshold = 0.3 if seed % 2 else None
        heads = neighbour_runs(hidden(keys, valid), budget, valid, threshold)
        assert (heads[~valid] == -1).all()
        for b in range(len(valid)):
            own = valid[b].nonzero()[:, 0].tolist()
            alike = {n: cosine(keys[b, n], keys[b, n - 1]) for n in own[1:]}
            joined = sorted(alike, key=lambda n: (-alike[n], n))[: len(own) - int(budget[b])]
            joined += [n for n in alike if threshold is not None and alike[n] > threshold]
            head = -1
            for n in own:
                head = head if n in joined else n
                assert int(heads[b, n]) == head


def slow_peaks(distance: Array, k: int, itself: bool) -> tuple[Array, Array]:
    """Density and separation, token by token."""
    n = len(distance)
    density = np.ones(n)
    for i in range(n):
        near = sorted(distance[i, j] for j in range(n) if itself or j != i)[:k]
        if near:
            density[i] = np.exp(-np.mean(np.square(near)))
    separation = np.zeros(n)
    for i in range(n):
        higher = [j for j in range(n) if density[j] > density[i] or (density[j] == density[i] and j < i)]
        separation[i] = min((distance[i, j] for j in higher), default=distance.max())
    return density, separation


@pytest.mark.parametrize("itself", [False, True])
def test_density_peaks(itself: bool) -> None:
    for seed in SEEDS:
        valid, random = ragged(seed)
        x = random.standard_normal((*valid.shape, 3))
        distance = torch.from_numpy(np.linalg.norm(x[:, :, None] - x[:, None], axis=-1))  # float64: no false ties
        distance[~valid] = torch.nan
        distance.transpose(1, 2)[~valid] = torch.nan
        k = torch.from_numpy(random.integers(1, 6, len(valid)))
        if seed % 2:
            k[:] = k[0]
        density, separation = density_peaks(distance, valid, int(k[0]) if seed % 2 else k, itself)
        assert not density[~valid].any()
        assert not separation[~valid].any()
        for b in range(len(valid)):
            own = valid[b].numpy()
            expected = slow_peaks(distance[b].numpy()[np.ix_(own, own)], int(k[b]), itself)
            assert np.allclose(density[b].numpy()[own], expected[0])
            assert np.allclose(separation[b].numpy()[own], expected[1])


def test_density_peaks_of_equal_tokens() -> None:
    # All equally dense: each but the first has an earlier one beside it, so the first alone is a centre.
    valid = torch.tensor([[False, True, True, True]])
    density, separation = density_peaks(torch.zeros(1, 4, 4), valid, 2)
    assert density.tolist() == [[0.0, 1.0, 1.0, 1.0]]
    assert separation.tolist() == [[0.0] * 4]
    apart = 1.0 - torch.eye(4)[None]
    assert density_peaks(apart, valid, 2)[1].tolist() == [[0.0, 1.0, 1.0, 1.0]]


def test_density_noise_is_the_same_in_every_batch() -> None:
    # An item of three sets, of which the second is empty: alone, and beside an item with more and longer sets.
    alone = torch.tensor([[1, 1], [0, 0], [1, 0]], dtype=torch.bool)
    noise = density_noise(alone, 3, 5)
    assert (noise[alone] > 0).all()
    assert (noise < NOISE).all()
    assert not noise[~alone].any()
    beside = torch.zeros(8, 3, dtype=torch.bool)
    beside[:4] = True
    beside[4, 1:] = beside[7, 0] = True
    both = density_noise(beside, 4, 5)
    assert both[4, 1:].tolist() == noise[0].tolist()
    assert both[7, 0] == noise[2, 0]
    assert len({*both[:4].flatten().tolist()}) == 12
    assert density_noise(alone, 3, 6).tolist() != noise.tolist()


def test_density_noise_decides_where_tokens_are_far_apart() -> None:
    # Mean squared distances of 15.7 and more, so densities below 1.6e-7: 2 is the densest. The noise makes it 1.
    distance = torch.tensor([[[0.0, 5.0, 4.0], [5.0, 0.0, 4.0], [4.0, 4.0, 0.0]]]) * 0.99
    valid = torch.ones(1, 3, dtype=torch.bool)
    noise = torch.tensor([[0.1, 0.9, 0.2]]) * NOISE
    assert density_peaks(distance, valid, 2)[0].argmax(1).tolist() == [2]
    density, separation = density_peaks(distance, valid, 2, noise=noise)
    assert density[0].tolist() == pytest.approx((noise[0] + torch.tensor([1.9e-9, 1.9e-9, 1.6e-7])).tolist(), rel=0.05)
    assert separation[0].tolist() == pytest.approx([0.99 * 4, 0.99 * 5, 0.99 * 4])


def test_min_max() -> None:
    for seed in SEEDS:
        valid, random = ragged(seed)
        score = random.standard_normal(valid.shape)
        score[-1] = 3.0
        scaled = min_max(hidden(score, valid), valid)
        assert not scaled[~valid].any()
        for b in range(len(valid)):
            own = score[b][valid[b].numpy()]
            spread = own.max() - own.min()
            expected = (own - own.min()) / spread if spread else np.zeros(len(own))
            assert np.allclose(scaled[b][valid[b]].numpy(), expected, atol=1e-6)


def test_min_max_of_small_scores() -> None:
    # Attention over many tokens: scores are tiny and still apart.
    score = torch.tensor([[1e-13, 3e-13, 2e-13]])
    assert torch.allclose(min_max(score, torch.ones(1, 3, dtype=torch.bool)), torch.tensor([[0.0, 1.0, 0.5]]))


def test_unit() -> None:
    for seed in SEEDS:
        valid, random = ragged(seed)
        x = random.standard_normal((*valid.shape, 4))
        x[0, -1] = 0.0
        scaled = unit(hidden(x, valid), valid)
        for b, n in np.ndindex(*valid.shape):
            norm = np.linalg.norm(x[b, n])
            expected = x[b, n] / norm if valid[b, n] and norm else np.zeros(4)
            assert np.allclose(scaled[b, n].numpy(), expected, atol=1e-6)
    assert unit(torch.ones(1, 1, 4).bfloat16(), torch.ones(1, 1, dtype=torch.bool)).dtype == torch.float32


def test_change_and_frames() -> None:
    for seed in SEEDS:
        random = np.random.default_rng(seed)
        grids = [tuple(int(size) for size in random.integers(1, 5, 3)) for _ in range(3)]
        longest = max(t * y * x for t, y, x in grids)
        tokens = stack([item((t, y, x), 4, seed + i, pad=longest - t * y * x) for i, (t, y, x) in enumerate(grids)])
        assert frame_tokens(tokens)[:, 0].tolist() == [y * x for _, y, x in grids]
        for back in (1, 2):
            changed = change(tokens, torch.full(tokens.valid.shape, back))
            for b, (t, y, x) in enumerate(grids):
                frames = tokens.features[b, longest - t * y * x :].double().numpy().reshape(t, y * x, 4)
                mine = changed[b, longest - t * y * x :].numpy().reshape(t, y * x)
                for f in range(back, t):
                    for p in range(y * x):
                        expected = 1 - cosine(frames[f, p], frames[f - back, p])
                        assert abs(mine[f, p] - expected) < 1e-5


@pytest.mark.parametrize(
    ("budget", "weight", "most", "capacity", "expected"),
    [
        (6, [3, 1, 0], [5, 5, 5], [9, 9, 0], [4, 2, 0]),  # 2 first; of 4 more, 3 and 1
        (6, [3, 1, 0], [3, 5, 5], [9, 9, 0], [3, 3, 0]),  # what the first may not have goes on
        (9, [2, 2, 1], [2, 2, 1], [3, 9, 4], [3, 4, 2]),  # bounds rise by 2, to 3, 4 and 3; of 6 more 2, 3 and 1
        (12, [1, 1], [1, 1], [3, 9], [3, 9]),
        (0, [0], [5], [0], [0]),
    ],
)
def test_allocate_bounded(
    budget: int, weight: list[int], most: list[int], capacity: list[int], expected: list[int]
) -> None:
    given = allocate_bounded(
        torch.tensor([budget]), torch.tensor([weight]), torch.tensor([most]), torch.tensor([capacity])
    )
    assert given[0].tolist() == expected


def test_frames_stand_apart_unless_they_have_one_token_each() -> None:
    video, audio = item((2, 1, 3), 4, 0), item((5, 1, 1), 4, 0, pad=1)
    place, count = frame_rows(stack([video, audio]), torch.tensor([3, 4]))
    assert place[:3].tolist() == [[0, 1, 2, -1, -1], [3, 4, 5, -1, -1], [7, 8, 9, 10, 11]]
    assert (place[3:] == -1).all()
    assert count[:3].tolist() == [2, 1, 4]
    assert count.sum() == 7


def test_smoothing_reflects_at_the_border_and_leaves_out_what_is_not_there() -> None:
    random = np.random.default_rng(0)
    score, near = random.random((3, 4)), np.exp(-np.array([1.0, 0.0, 1.0]) / 2)
    kernel = np.outer(near, near) / np.outer(near, near).sum()
    wide = np.pad(score, 1, mode="reflect")
    expected = [[(wide[y : y + 3, x : x + 3] * kernel).sum() for x in range(4)] for y in range(3)]
    place = torch.tensor([[y, x] for y in range(3) for x in range(4)])[None]
    everywhere = torch.ones(1, 12, dtype=torch.bool)
    mean = smooth(torch.from_numpy(score).float().reshape(1, -1), place, everywhere)
    assert torch.allclose(mean.view(3, 4).double(), torch.tensor(expected, dtype=torch.float64), atol=1e-6)
    # Equal scores stay, whatever is missing; a single place stays as it is.
    part = everywhere.clone()
    part[0, [0, 5, 6]] = False
    assert torch.allclose(smooth(torch.full((1, 12), 0.7), place, part)[part], torch.tensor(0.7))
    alone = smooth(torch.tensor([[0.2, 0.9]]), torch.zeros(1, 2, 2, dtype=torch.long), everywhere[:, :2])
    assert alone.tolist() == torch.tensor([[0.2, 0.9]]).tolist()
